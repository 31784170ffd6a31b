// The sender of bodies in C with epoll: each line it gets is answered by 64 MiB, 64 KiB a send.
// One connection.

#include "peer.h"

#define BODY (64 << 20)
#define PIECE (64 << 10)

static char body[BODY];

int main(void) {
  // What the load compares with: 251 is prime, so no piece fits where another belongs.
  for (int i = 0; i < BODY; i += 1) body[i] = i % 251;
  int listener = listen_anywhere(), epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
  for (size_t left = 0;;) {
    struct epoll_event event;
    if (wait_for(epoll, &event, 1) == 0) continue;
    int fd = event.data.fd;
    if (fd == listener) {
      fd = check(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
      watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
      continue;
    }
    if (event.events & EPOLLIN) {
      char line[256];
      ssize_t got = read(fd, line, sizeof line);
      if (got <= 0) return 0;
      for (ssize_t i = 0; i < got; i += 1) left += line[i] == '\n' ? BODY : 0;
    }
    size_t before = left;
    while (left > 0) {
      size_t here = left % BODY == 0 ? BODY : left % BODY;
      ssize_t sent = send(fd, body + BODY - here, here < PIECE ? here : PIECE, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) break;
      left -= check(sent, "send");
    }
    if (left > 0) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    else if (before > 0) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
  }
}
