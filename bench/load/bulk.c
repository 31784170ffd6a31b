// Large amounts over one connection. `fetch`: a line asks for a body of so many MiB. `echo`: a body is sent, and
// comes back meanwhile. As many times as fit; each is one operation.
//
// Byte i of a body is i modulo 251, a prime: no piece of it that is lost, doubled or out of place
// fits, and each byte is compared.

#include "load.h"
#include <fcntl.h>
#include <poll.h>

#define WARM_UP_BYTES (256L << 20)
#define PIECE (256L << 10)

static long body;
static char pattern[PIECE + 251], input[PIECE];

// Returns how much of a body was sent, `at` bytes of it having been.
static long send_more(int fd, long at) {
  long left = body - at;
  long sent = write(fd, pattern + at % 251, left < PIECE ? left : PIECE);
  return sent < 0 && errno == EAGAIN ? 0 : check(sent, "write");
}

static long receive_more(int fd, long at) {
  long got = read(fd, input, sizeof input);
  if (got < 0 && errno == EAGAIN) return 0;
  if (check(got, "read") == 0) die("the end, at byte %ld", at);
  if (at + got > body || memcmp(input, pattern + at % 251, got) != 0)
    die("not the body, at byte %ld", at);
  return got;
}

static void fetch_or_echo(int fd, int echo) {
  long sent = body, received = 0, begun = now();
  if (echo) sent = 0;
  else check(write(fd, "fetch\r\n", 7), "write");
  while (received < body) {
    struct pollfd ready = {.fd = fd, .events = sent < body ? POLLIN | POLLOUT : POLLIN};
    if (spin_for(check(poll(&ready, 1, 0), "poll")) == 0) die("stalled, at byte %ld", received);
    if (ready.revents & POLLOUT) sent += send_more(fd, sent);
    if (ready.revents & ~POLLOUT) received += receive_more(fd, received);
  }
  record(now() - begun);
  if (recv(fd, input, 1, MSG_DONTWAIT) >= 0) die("more than was asked for, or the end");
}

// Until the time is over and so many bodies have come. Returns how many have.
static long bear_down(int fd, int echo, double seconds, long bodies) {
  long end = now() + seconds * 1e9, times = 0;
  for (; times < bodies || now() < end; times += 1) fetch_or_echo(fd, echo);
  return times;
}

int main(int argc, char **argv) {
  if (argc != 5) die("usage: bulk PORT SECONDS fetch|echo MIB");
  body = atol(argv[4]) << 20;
  int fd = connect_to(atoi(argv[1])), echo = strcmp(argv[3], "echo") == 0;
  check(fcntl(fd, F_SETFL, O_NONBLOCK), "fcntl");
  for (long i = 0; i < (long)sizeof pattern; i += 1) pattern[i] = i % 251;
  bear_down(fd, echo, WARM_UP, (WARM_UP_BYTES + body - 1) / body);
  wait_for_go();
  long start = now(), times = bear_down(fd, echo, atof(argv[2]), 1);
  report(times, (now() - start) / 1e9);
}
