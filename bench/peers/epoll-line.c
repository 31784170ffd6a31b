// Line echo in C with epoll: level-triggered, one read for each event, and one write for all the
// lines it has completed. The beginning of a line waits in its connection's own buffer. With an
// argument, a connection is closed after the first answer.
//
// The load has a bounded number of lines in flight, which fit the kernel's buffer: a write that is
// cut short, or a line longer than the buffer, is the end of the server and of the measurement.

#include "peer.h"

#define CONNECTIONS 65536
#define ROOM 8192

static int once;
static struct { size_t length; char *data; } begun[CONNECTIONS];

static void forget(int fd) {
  free(begun[fd].data);
  begun[fd].data = NULL;
  begun[fd].length = 0;
  close(fd);
}

static void keep(int fd, const char *rest, size_t length) {
  if (length > 0 && begun[fd].data == NULL) begun[fd].data = malloc(ROOM);
  if (length > 0) memmove(begun[fd].data, rest, length);
  begun[fd].length = length;
}

static void echo(int fd) {
  static char shared[65536];
  // A read goes to where the line has begun; without one, to memory that all share.
  size_t held = begun[fd].length;
  char *data = held > 0 ? begun[fd].data : shared;
  ssize_t got = read(fd, data + held, ROOM - held);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) return forget(fd);
  size_t length = held + got, lines = complete_lines(data, length);
  if (lines > 0 && check(write(fd, data, lines), "write") < (ssize_t)lines) exit(2);
  if (length - lines == ROOM) exit(3);
  if (once && lines > 0) return forget(fd);
  keep(fd, data + lines, length - lines);
}

int main(int argc, char **argv) {
  (void)argv;
  once = argc > 1;
  struct epoll_event events[1024];
  int listener = listen_anywhere(), epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN);
  for (;;) {
    int count = wait_for(epoll, events, 1024);
    for (int i = 0; i < count; i += 1) {
      int fd = events[i].data.fd;
      if (fd != listener) echo(fd);
      else
        while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          if (fd >= CONNECTIONS) exit(4);
          watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN);
        }
    }
  }
}
