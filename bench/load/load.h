// What the load generators have in common: a clock, a histogram of latencies, the turn-taking with
// the bench that started them, and an end with a word at the first thing amiss.
//
// A load makes its connections, warms the server up over them, and lets every answer come in. Then
// it says `ready` and waits for a line; the bench reads the server's account meanwhile. It bears
// down for the given time, lets every answer come in again, and says what it has seen as one line
// of JSON. Arguments: the port, the seconds, and what the load is made of.

#pragma once
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// How long the server may be silent while an answer is due, in ms.
#define PATIENCE 10000

// How long a server is warmed up at least, in s. Each load has a number of operations besides, by
// which a JavaScript server is compiled: as seen in its CPU time, which falls until then.
#define WARM_UP 1.0

#define die(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))

static inline long check(long result, const char *call) {
  if (result < 0) die("%s: %s", call, strerror(errno));
  return result;
}

static inline long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000L + time.tv_nsec;
}

// Waits for `what`, which looks once and returns a count, without ever sleeping: the server whose
// send(2) wakes a sleeper is charged for it, several µs on a virtual machine, and a server that is
// fast enough would meet none. On a network, nobody's peer sleeps on the same machine.
#define spin_for(what)                                                        \
  ({                                                                          \
    long patient_until = now() + PATIENCE * 1000000L, count;                  \
    do count = (what);                                                        \
    while (count == 0 && now() < patient_until);                              \
    count;                                                                    \
  })

// The same with epoll_wait(2), which may put the load to sleep.
static inline long wait_for(int epoll, struct epoll_event *events, int room, int sleeping) {
  if (!sleeping) return spin_for(check(epoll_wait(epoll, events, room, 0), "epoll_wait"));
  return check(epoll_wait(epoll, events, room, PATIENCE), "epoll_wait");
}

// Latencies in ns, counted by their first 7 binary digits: what is read is 1 % off at most.
static long histogram[64 * 128];

static inline void record(long latency) {
  int shift = latency < 128 ? 0 : 57 - __builtin_clzl(latency);
  histogram[shift * 128 + (latency >> shift)] += 1;
}

// The latency, in µs, that a share of all is below.
static inline double percentile(double share) {
  long total = 0, seen = 0;
  int at = 0;
  for (int i = 0; i < 64 * 128; i += 1) total += histogram[i];
  while ((seen += histogram[at]) < share * total) at += 1;
  return (at % 128 + 0.5) * (1L << at / 128) / 1000;
}

// The bench reads the server's account, which is at rest.
static inline void wait_for_go(void) {
  char line[16];
  puts("ready");
  fflush(stdout);
  if (fgets(line, sizeof line, stdin) == NULL) exit(1);
  memset(histogram, 0, sizeof histogram);
}

// The sends of the server that have come, where a load counts them.
static long sends_seen;

// The bench reads the account again: no connection may be closed before.
static inline void report(long operations, double seconds) {
  printf("{\"operations\": %ld, \"seconds\": %.6f, \"p50\": %.3f, \"p99\": %.3f, \"sends\": %ld}\n",
         operations, seconds, percentile(0.5), percentile(0.99), sends_seen);
  fflush(stdout);
  while (getchar() != EOF);
}

static inline int connect_to(int port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket"), on = 1;
  struct timeval patience = {.tv_sec = PATIENCE / 1000};
  check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "setsockopt");
  check(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), "setsockopt");
  check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
  return fd;
}
