// A storm: so many connections at once, each of which says a line of 64 bytes, CRLF included, and hears its echo.
//
// All connects are begun before anything else is done. A connection that is refused, reset, or without its answer
// when nothing has come for a while is lost. An operation is a connection that has heard its line, and its latency
// the time since its connect(2): with a kernel that drops the first SYN of a connection, as its listener's queue is
// full, that is a second and more.

#include "load.h"

#define LINE 64

struct caller {
  int fd;
  enum { CALLING, LISTENING, ANSWERED } state;
  size_t length;
  char line[LINE + 1], input[LINE + 1];
  long begun;
};

static struct caller *all;
static int port, epoll;

static void call(struct caller *caller) {
  static unsigned number;
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  snprintf(caller->line, sizeof caller->line, "%08x %053d\r\n", number++, 0);
  // Edge-triggered: one registration serves for the whole life.
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = caller};
  caller->state = CALLING;
  caller->length = 0;
  caller->fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  caller->begun = now();
  if (connect(caller->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS)
    die("connect: %s", strerror(errno));
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, caller->fd, &event), "epoll_ctl");
}

// Resets it: neither side keeps the pair of ports in TIME_WAIT.
static void hang_up(struct caller *caller) {
  struct linger reset = {.l_onoff = 1};
  if (caller->fd < 0) return;
  check(setsockopt(caller->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "setsockopt");
  close(caller->fd);
  caller->fd = -1;
}

// Says the line when the connection is up, and then hears the echo. Returns whether that is over, well or not.
static int go_on(struct caller *caller, unsigned events, long *answered) {
  char *input = caller->input;
  if (caller->state == ANSWERED) die("more than an echo of %.8s, or the end", caller->line);
  if (caller->state == CALLING && !(events & EPOLLERR)) {
    caller->state = LISTENING;
    if (send(caller->fd, caller->line, LINE, MSG_NOSIGNAL) < LINE) return hang_up(caller), 1;
    if (!(events & EPOLLIN)) return 0;
  }
  long got = read(caller->fd, input + caller->length, sizeof caller->input - caller->length);
  if (got < 0 && errno == EAGAIN) return 0;
  if (got <= 0) return hang_up(caller), 1;
  if ((caller->length += got) < LINE) return 0;
  if (caller->length != LINE || memcmp(input, caller->line, LINE) != 0)
    die("%zu bytes, not an echo of %.8s", caller->length, caller->line);
  caller->state = ANSWERED;
  record(now() - caller->begun);
  *answered += 1;
  return 1;
}

// Returns how many were answered.
static long storm(long count) {
  static struct epoll_event events[1024];
  long answered = 0, under_way = count;
  for (long i = 0; i < count; i += 1) call(&all[i]);
  while (under_way > 0) {
    int ready = wait_for(epoll, events, 1024, 0);
    if (ready == 0) break;
    for (int i = 0; i < ready; i += 1)
      under_way -= go_on(events[i].data.ptr, events[i].events, &answered);
  }
  return answered;
}

static void hang_up_all(long count) {
  for (long i = 0; i < count; i += 1) hang_up(&all[i]);
}

int main(int argc, char **argv) {
  if (argc != 3) die("usage: storm PORT CONNECTIONS");
  port = atoi(argv[1]);
  long count = atol(argv[2]);
  epoll = check(epoll_create1(0), "epoll_create1");
  all = calloc(count, sizeof *all);
  // The first storm compiles a JavaScript server. It has heard of all ends when it answers again.
  storm(count);
  hang_up_all(count);
  usleep(WARM_UP * 1e6);
  storm(1);
  hang_up_all(1);
  usleep(WARM_UP * 1e6);
  wait_for_go();
  long start = now(), answered = storm(count);
  report(answered, (now() - start) / 1e9);
}
