// Connections that live for one line: connect, send it, read the echo and the end of the stream.
// The server closes first; `at_once` of them are under way all the time.
//
// Each ends with a reset (SO_LINGER of 0): the server has closed its descriptor by then, so that it
// never hears of it, and neither side keeps the pair of ports in TIME_WAIT, of which there are less
// than 30,000.

#include "load.h"

#define LINE 64
#define WARM_UP_VISITS 10000

static int port, epoll;

struct visit {
  int fd;
  size_t length;
  char line[LINE + 1], input[LINE + 1];
  long begun;
};

static void begin(struct visit *visit) {
  static unsigned number;
  snprintf(visit->line, sizeof visit->line, "%08x %053d\r\n", number++, 0);
  visit->length = 0;
  visit->begun = now();
  visit->fd = connect_to(port);
  if (check(write(visit->fd, visit->line, LINE), "write") < LINE) die("short write");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = visit};
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, visit->fd, &event), "epoll_ctl");
}

// Returns whether it is over: the echo and nothing else has come.
static int go_on(struct visit *visit) {
  char *input = visit->input;
  size_t room = sizeof visit->input - visit->length;
  long got = check(read(visit->fd, input + visit->length, room), "read");
  visit->length += got;
  if (got > 0 && visit->length <= LINE) return 0;
  if (visit->length != LINE || memcmp(input, visit->line, LINE) != 0)
    die("%zu bytes, not an echo of %.8s", visit->length, visit->line);
  record(now() - visit->begun);
  struct linger reset = {.l_onoff = 1};
  check(setsockopt(visit->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), "setsockopt");
  close(visit->fd);
  return 1;
}

// Until the time is over and so many have been. Returns how many have.
static long bear_down(struct visit *all, long at_once, double seconds, long visits) {
  static struct epoll_event events[1024];
  long end = now() + seconds * 1e9, over = 0, under_way = at_once;
  for (long i = 0; i < at_once; i += 1) begin(&all[i]);
  while (under_way > 0) {
    int ready = spin_for(check(epoll_wait(epoll, events, 1024, 0), "epoll_wait"));
    if (ready == 0) die("%ld connections were not answered", under_way);
    for (int i = 0; i < ready; i += 1) {
      if (!go_on(events[i].data.ptr)) continue;
      over += 1;
      if (now() < end || over < visits) begin(events[i].data.ptr);
      else under_way -= 1;
    }
  }
  return over;
}

int main(int argc, char **argv) {
  if (argc != 4) die("usage: churn PORT SECONDS AT-ONCE");
  port = atoi(argv[1]);
  epoll = check(epoll_create1(0), "epoll_create1");
  long at_once = atol(argv[3]);
  struct visit *all = calloc(at_once, sizeof *all);
  bear_down(all, at_once, WARM_UP, WARM_UP_VISITS);
  wait_for_go();
  long start = now(), over = bear_down(all, at_once, atof(argv[2]), 0);
  report(over, (now() - start) / 1e9);
}
