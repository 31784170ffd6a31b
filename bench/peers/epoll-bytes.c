// Byte echo in C with epoll, level-triggered: one read and one write for each event. What the
// kernel does not take waits in the connection's own buffer, and while it does, nothing is read.

#include "peer.h"

#define CONNECTIONS 65536

static struct { size_t length; char *data; } left[CONNECTIONS];

static void forget(int fd) {
  free(left[fd].data);
  left[fd].data = NULL;
  left[fd].length = 0;
  close(fd);
}

// Returns how much of it was written; all of it is lost with the connection.
static size_t give(int fd, const char *data, size_t length) {
  ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
  if (sent >= 0) return sent;
  if (errno == EAGAIN) return 0;
  forget(fd);
  return length;
}

static void echo(int epoll, int fd) {
  static char data[65536];
  ssize_t got = read(fd, data, sizeof data);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return forget(fd);
  size_t sent = give(fd, data, got);
  if (sent == (size_t)got) return;
  if (left[fd].data == NULL) left[fd].data = malloc(sizeof data);
  memcpy(left[fd].data, data + sent, left[fd].length = got - sent);
  watch(epoll, EPOLL_CTL_MOD, fd, EPOLLOUT);
}

static void go_on(int epoll, int fd) {
  size_t sent = give(fd, left[fd].data, left[fd].length);
  if (left[fd].data == NULL) return;
  memmove(left[fd].data, left[fd].data + sent, left[fd].length -= sent);
  if (left[fd].length == 0) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
}

int main(void) {
  struct epoll_event events[1024];
  int listener = listen_anywhere(), epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
  for (;;) {
    int count = wait_for(epoll, events, 1024);
    for (int i = 0; i < count; i += 1) {
      int fd = events[i].data.fd;
      if (fd != listener) {
        if (left[fd].length > 0) go_on(epoll, fd);
        else echo(epoll, fd);
      } else
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (fd >= CONNECTIONS) exit(4);
          watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
        }
    }
  }
}
