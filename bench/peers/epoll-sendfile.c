// The sender of a file in C with epoll and sendfile(2): each line it gets is answered by the whole file. One
// connection.

#include "peer.h"
#include <fcntl.h>
#include <sys/sendfile.h>

int main(int argc, char **argv) {
  if (argc != 2) return 1;
  int file = check(open(argv[1], O_RDONLY | O_CLOEXEC), "open");
  off_t size = check(lseek(file, 0, SEEK_END), "lseek");
  int listener = listen_anywhere(), epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
  for (off_t at = size;;) {
    struct epoll_event event;
    if (wait_for(epoll, &event, 1) == 0) continue;
    int fd = event.data.fd;
    if (fd == listener) {
      fd = check(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), "accept4");
      watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
      continue;
    }
    if (event.events & EPOLLIN) {
      // A request is one line, and there is one at a time.
      char line[256];
      if (read(fd, line, sizeof line) <= 0) return 0;
      at = 0;
      watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT);
    }
    while (at < size) {
      ssize_t sent = sendfile(fd, file, &at, size - at);
      if (sent < 0 && errno == EAGAIN) break;
      if (check(sent, "sendfile") == 0) return 2;
    }
    if (at == size) watch(epoll, EPOLL_CTL_MOD, fd, EPOLLIN);
  }
}
