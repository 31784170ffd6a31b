// A room of `members`, of whom `speakers` say a line of 64 bytes, CRLF included, in each round. The server passes
// each line on to every member, the speaker included. A round is over when every member has heard every speaker
// once, and the next speakers are the next members in turn.
//
// Each line has the number of its round and of its speaker, so that a line which is lost, doubled, torn or of
// another round is seen. An operation is a line that a member has heard, and its latency the time since it was said.

#include "load.h"

#define LINE 64
#define MEMBERS 1024
#define WARM_UP_LINES 100000

struct member {
  int fd;
  size_t length;          // of what is in `input`
  char input[1 << 16];
  char heard[MEMBERS];    // by speaker: in this round
};

static struct member *room;
static long members, speakers;

static void format(char *line, long round, long speaker) {
  snprintf(line, LINE + 1, "%016lx %08x %036d\r\n", round, (unsigned)speaker, 0);
}

static void say(long round, long speaker) {
  char line[LINE + 1];
  format(line, round, speaker);
  if (check(write(room[speaker].fd, line, LINE), "write") < LINE) die("short write");
}

// Reads, and compares what is complete. Returns how many lines that are.
static long hear(struct member *member, long round, long time) {
  size_t room_left = sizeof member->input - member->length;
  long got = check(read(member->fd, member->input + member->length, room_left), "read");
  if (got == 0) die("a connection was closed");
  size_t length = member->length + got, at = 0;
  for (; length - at >= LINE; at += LINE) {
    char line[LINE + 1];
    long speaker = strtol(member->input + at + 17, NULL, 16);
    if (speaker < 0 || speaker >= members) die("nobody said: %.62s", member->input + at);
    format(line, round, speaker);
    if (memcmp(member->input + at, line, LINE) != 0)
      die("not said in this round: %.62s", member->input + at);
    if (member->heard[speaker]) die("heard twice: %.62s", line);
    member->heard[speaker] = 1;
    record(now() - time);
  }
  memmove(member->input, member->input + at, member->length = length - at);
  return at / LINE;
}

// Rounds until the time is over and so many lines are heard. Returns how many were.
static long talk(int epoll, double seconds, long lines) {
  static struct epoll_event events[MEMBERS];
  static long round = 0, next = 0;
  long end = now() + seconds * 1e9, heard = 0;
  while (now() < end || heard < lines) {
    long due = members * speakers, time = now();
    for (long i = 0; i < members; i += 1) memset(room[i].heard, 0, members);
    for (long i = 0; i < speakers; i += 1, next = (next + 1) % members) say(round, next);
    while (due > 0) {
      int ready = spin_for(check(epoll_wait(epoll, events, MEMBERS, 0), "epoll_wait"));
      if (ready == 0) die("%ld lines were not heard", due);
      for (int i = 0; i < ready; i += 1) {
        long here = hear(events[i].data.ptr, round, time);
        due -= here;
        heard += here;
      }
    }
    round += 1;
  }
  return heard;
}

// How many sends of the server have come to the members so far: the kernel counts the segments that carry data, and
// each send to a socket with TCP_NODELAY is one here, since a segment on the loopback has room for more than a round.
static long count_sends(void) {
  long sends = 0;
  for (long i = 0; i < members; i += 1) {
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    check(getsockopt(room[i].fd, IPPROTO_TCP, TCP_INFO, &info, &length), "getsockopt");
    sends += info.tcpi_data_segs_in;
  }
  return sends;
}

int main(int argc, char **argv) {
  if (argc != 5) die("usage: room PORT SECONDS MEMBERS SPEAKERS");
  int port = atoi(argv[1]), epoll = check(epoll_create1(0), "epoll_create1");
  double seconds = atof(argv[2]);
  members = atol(argv[3]);
  speakers = atol(argv[4]);
  if (members > MEMBERS || speakers > members) die("too many");
  room = calloc(members, sizeof *room);
  for (long i = 0; i < members; i += 1) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &room[i]};
    room[i].fd = connect_to(port);
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, room[i].fd, &event), "epoll_ctl");
    // The server greets a member with one byte, so that all are in the room before anybody speaks.
    if (check(recv(room[i].fd, &(char){0}, 1, 0), "recv") != 1) die("no greeting");
  }
  talk(epoll, WARM_UP, WARM_UP_LINES);
  wait_for_go();
  long before = count_sends(), start = now(), heard = talk(epoll, seconds, 0);
  double elapsed = (now() - start) / 1e9;
  sends_seen = count_sends() - before;
  report(heard, elapsed);
}
