// Line echo in C with libuv: one read for each event into memory that all connections share, and
// one uv_try_write for all the lines it has completed. The beginning of a line is kept by its
// connection. With an argument, a connection is closed after the first answer.
//
// As in the epoll server, a write that is cut short ends the measurement: the load's lines fit.

#include "peer.h"
#include <uv.h>

#define ROOM 8192

typedef struct { uv_tcp_t tcp; size_t length; char begun[]; } Connection;

static int once;
static char shared[2 * ROOM];

static void forget(uv_handle_t *handle) { free(handle); }

static void offer(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  (void)size;
  // What has begun comes before what is read.
  Connection *connection = (Connection *)handle;
  memcpy(shared, connection->begun, connection->length);
  *buffer = uv_buf_init(shared + connection->length, ROOM);
}

static void echo(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer) {
  (void)buffer;
  Connection *connection = (Connection *)stream;
  if (got < 0) return uv_close((uv_handle_t *)stream, forget);
  size_t length = connection->length + got, lines = complete_lines(shared, length);
  uv_buf_t reply = uv_buf_init(shared, lines);
  if (lines > 0 && uv_try_write(stream, &reply, 1) < (ssize_t)lines) exit(2);
  if (once && lines > 0) return uv_close((uv_handle_t *)stream, forget);
  connection->length = length - lines;
  if (connection->length > ROOM) exit(3);
  memcpy(connection->begun, shared + lines, connection->length);
}

static void accept_one(uv_stream_t *listener, int status) {
  if (status < 0) exit(4);
  Connection *connection = calloc(1, sizeof *connection + ROOM);
  uv_tcp_init(listener->loop, &connection->tcp);
  if (uv_accept(listener, (uv_stream_t *)connection) < 0) exit(4);
  uv_read_start((uv_stream_t *)connection, offer, echo);
}

int main(int argc, char **argv) {
  (void)argv;
  once = argc > 1;
  uv_tcp_t listener;
  uv_tcp_init(uv_default_loop(), &listener);
  uv_tcp_open(&listener, listen_anywhere());
  if (uv_listen((uv_stream_t *)&listener, BACKLOG, accept_one) < 0) exit(5);
  return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
