// Lines of 64 bytes, CRLF included, over `active` connections with `inflight` of them under way in
// each, beside `idle` connections that have sent one line and then nothing. With `sleeping` the
// load waits in epoll_wait(2); otherwise it polls.
//
// Each line has the number of its connection and its own, so that an answer which is lost, doubled,
// torn or somebody else's is seen. All answers of one read are followed by as many lines in one
// write.

#include "load.h"

#define LINE 64
#define BATCH 100
#define WARM_UP_LINES 10000

struct connection {
  int fd;
  unsigned sent, received;
  size_t length;           // of what is in `input`
  char line[LINE + 1];     // with a number yet to be set
  char *input;             // room for all that can be under way
  long *sent_at;           // by number modulo inflight
};

static long inflight;
static int sleeping;

// The line of this connection with this number.
static const char *line_of(struct connection *connection, unsigned number) {
  for (int i = 0; i < 8; i += 1, number >>= 4)
    connection->line[16 - i] = "0123456789abcdef"[number & 15];
  return connection->line;
}

static void send_lines(struct connection *connection, long count, long time) {
  static char output[1 << 16];
  for (long i = 0; i < count; i += 1, connection->sent += 1) {
    memcpy(output + i * LINE, line_of(connection, connection->sent), LINE);
    connection->sent_at[connection->sent % inflight] = time;
  }
  // What is under way is far less than the kernel's buffer.
  long sent = check(write(connection->fd, output, count * LINE), "write");
  if (sent < count * LINE) die("short write");
}

// Reads, and compares what is complete. Returns how many lines that are.
static long receive_lines(struct connection *connection) {
  char *input = connection->input;
  long room = inflight * LINE - connection->length;
  long got = check(read(connection->fd, input + connection->length, room), "read");
  if (got == 0) die("connection %.8s was closed", connection->line);
  size_t length = connection->length + got, at = 0;
  long time = now();
  for (; length - at >= LINE; at += LINE, connection->received += 1) {
    if (memcmp(input + at, line_of(connection, connection->received), LINE) != 0)
      die("not an echo: %.62s", input + at);
    if (connection->received == connection->sent) die("one answer too many");
    record(time - connection->sent_at[connection->received % inflight]);
  }
  memmove(input, input + at, connection->length = length - at);
  return at / LINE;
}

// A connection that has had an answer has been accepted. A batch fits any backlog.
static void open_all(struct connection *all, long count, int port) {
  for (long i = 0; i < count; i += 1) {
    struct connection *connection = &all[i];
    snprintf(connection->line, sizeof connection->line, "%08x ........ %044d\r\n", (unsigned)i, 0);
    connection->fd = connect_to(port);
    connection->input = malloc(inflight * LINE);
    connection->sent_at = calloc(inflight, sizeof(long));
    send_lines(connection, 1, now());
    if (i % BATCH < BATCH - 1 && i < count - 1) continue;
    for (long j = i - i % BATCH; j <= i; j += 1)
      while (receive_lines(&all[j]) == 0);
  }
}

// Until the time is over and so many lines are answered. Returns how many were.
static long bear_down(struct connection *active, long count, int epoll, double seconds,
                      long lines) {
  static struct epoll_event events[1024];
  long start = now(), end = start + seconds * 1e9, answered = 0, under_way = count * inflight;
  for (long i = 0; i < count; i += 1) send_lines(&active[i], inflight, now());
  while (under_way > 0) {
    int ready = wait_for(epoll, events, 1024, sleeping);
    if (ready == 0) die("%ld lines were not answered", under_way);
    for (int i = 0; i < ready; i += 1) {
      long here = receive_lines(events[i].data.ptr), time = now();
      answered += here;
      if (time < end || answered < lines) send_lines(events[i].data.ptr, here, time);
      else under_way -= here;
    }
  }
  return answered;
}

int main(int argc, char **argv) {
  if (argc < 6) die("usage: line PORT SECONDS ACTIVE INFLIGHT IDLE [sleeping]");
  int port = atoi(argv[1]), epoll = check(epoll_create1(0), "epoll_create1");
  double seconds = atof(argv[2]);
  long count = atol(argv[3]), idle = atol(argv[5]);
  inflight = atol(argv[4]);
  sleeping = argc > 6;
  struct connection *all = calloc(idle + count, sizeof *all), *active = all + idle;
  open_all(all, idle + count, port);
  for (long i = 0; i < count; i += 1) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &active[i]};
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, active[i].fd, &event), "epoll_ctl");
  }
  bear_down(active, count, epoll, WARM_UP, WARM_UP_LINES);
  wait_for_go();
  long start = now(), answered = bear_down(active, count, epoll, seconds, 0);
  double elapsed = (now() - start) / 1e9;
  for (long i = 0; i < idle; i += 1)
    if (recv(all[i].fd, &(char){0}, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
      die("idle connection %ld has heard something", i);
  report(answered, elapsed);
}
