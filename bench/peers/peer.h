// What the servers in C have in common: a non-blocking listener that says its port, an end with a
// word when the kernel refuses something, and the end of the last complete line.

#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// The kernel makes it net.core.somaxconn at most.
#define BACKLOG 65535

static inline long check(long result, const char *call) {
  if (result >= 0) return result;
  fprintf(stderr, "%s: %s\n", call, strerror(errno));
  exit(1);
}

static inline void say_port(struct sockaddr_in *address) {
  printf("port: %d\n", ntohs(address->sin_port));
  fflush(stdout);
}

// Accepted sockets inherit TCP_NODELAY.
static inline int listen_anywhere(void) {
  int fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
  int on = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
  check(bind(fd, (struct sockaddr *)&address, length), "bind");
  check(listen(fd, BACKLOG), "listen");
  check(getsockname(fd, (struct sockaddr *)&address, &length), "getsockname");
  say_port(&address);
  return fd;
}

static inline void watch(int epoll, int op, int fd, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  check(epoll_ctl(epoll, op, fd, &event), "epoll_ctl");
}

// A tracer that attaches interrupts it.
static inline int wait_for(int epoll, struct epoll_event *events, int room) {
  int count = epoll_wait(epoll, events, room, -1);
  return count < 0 && errno == EINTR ? 0 : check(count, "epoll_wait");
}

// Goes from line to line, as a server must that looks at them. Returns how many bytes of `data`
// are complete lines.
static inline size_t complete_lines(const char *data, size_t length) {
  size_t end = 0;
  for (const char *at; (at = memmem(data + end, length - end, "\r\n", 2)) != NULL;)
    end = at + 2 - data;
  return end;
}
