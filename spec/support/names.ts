// Every name of Python's asyncore and asynchat, and what has become of it. The specs go through this
// table, and docs/names.md is made of it: npx tsx spec/support/names.ts

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Name {
  /** As it is written in Python. */
  python: string;
  /** Ours; with `()` when it is called. null: there is none. */
  ours: string | null;
  /** The file of lib/ that defines it. For those without one: why there is none. */
  where: string;
}

export interface Group {
  /** The module or class in Python. */
  python: string;
  /** The class here; null: what the package exports. */
  ours: string | null;
  /** Not in CPython 3.11: who had it. */
  before?: string;
  names: Name[];
}

/** Names that follow from Python's: `handle_read` is `handleRead`. */
function translated(where: string, python: string): Name[] {
  return python.split(/\s+/).map((name) => ({ python: name, ours: camelCase(name), where }));
}

function camelCase(name: string): string {
  return name.replace(/(?<=[a-z0-9])_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function renamed(where: string, python: string, ours: string): Name {
  return { python, ours, where };
}

function without(why: string, python: string): Name[] {
  return python.split(/\s+/).map((name) => ({ python: name, ours: null, where: why }));
}

const OF_A_MODULE = 'a module that Python’s imports';
const A_CODE = 'an imported number; here errors are told apart by `code`, `ECONNRESET`';

export const GROUPS: Group[] = [
  {
    python: 'asyncore',
    ours: null,
    names: [
      ...translated('loop/node-loop.ts', 'loop()'),
      ...translated('loop/loop.ts', 'poll() poll2() poll3() close_all()'),
      ...translated('loop/dispatch.ts', 'read() write() readwrite()'),
      renamed('loop/dispatch.ts', '_exception()', 'exception()'),
      ...translated('loop/channel-map.ts', 'socket_map'),
      ...translated('errors.ts', 'compact_traceback()'),
      renamed('errors.ts', 'ExitNow', 'ExitNow()'),
      renamed('errors.ts', '_DISCONNECTED', 'DISCONNECTED'),
      renamed('kernel/syscalls.ts', '_strerror()', 'strerror()'),
      renamed('kernel/errno.ts', 'errorcode', 'errorCode()'),
      renamed('channels/dispatcher.ts', 'dispatcher', 'Dispatcher()'),
      renamed('channels/dispatcher-with-send.ts', 'dispatcher_with_send', 'DispatcherWithSend()'),
      renamed('channels/file-dispatcher.ts', 'file_dispatcher', 'FileDispatcher()'),
      renamed('channels/file-dispatcher.ts', 'file_wrapper', 'FileWrapper()'),
      renamed('kernel/socket.ts', 'socket', 'Socket()'),
      ...without('ExitNow alone leaves the loop: signals do not raise', '_reraised_exceptions'),
      ...without('a warning that the module will be removed', '_DEPRECATION_MSG'),
      ...without(OF_A_MODULE, 'os select sys time warnings'),
      ...without(
        A_CODE,
        'EAGAIN EALREADY EBADF ECONNABORTED ECONNRESET EINPROGRESS EINVAL EISCONN ENOTCONN EPIPE ESHUTDOWN EWOULDBLOCK',
      ),
    ],
  },
  {
    python: 'asyncore.dispatcher',
    ours: 'Dispatcher',
    names: [
      renamed('channels/dispatcher.ts', '__init__()', 'constructor()'),
      renamed('channels/channel-base.ts', '__repr__()', 'toString()'),
      ...translated(
        'channels/dispatcher.ts',
        'debug connected accepting connecting closing socket family_and_type',
      ),
      ...translated(
        'channels/channel-base.ts',
        'addr ignore_log_types set_reuse_addr() log() log_info()',
      ),
      renamed('channels/dispatcher.ts', '_map', 'map'),
      renamed('channels/dispatcher.ts', '_fileno', 'fileno()'),
      ...translated(
        'channels/dispatcher.ts',
        `add_channel() del_channel() create_socket() set_socket() readable() writable()
         listen() bind() connect() accept() send() recv() close()
         handle_read_event() handle_connect_event() handle_write_event() handle_expt_event()
         handle_error() handle_expt() handle_read() handle_write() handle_connect() handle_accept()
         handle_accepted() handle_close()`,
      ),
    ],
  },
  {
    python: 'asyncore.dispatcher_with_send',
    ours: 'DispatcherWithSend',
    names: [
      renamed('channels/dispatcher.ts', '__init__()', 'constructor()'),
      ...translated(
        'channels/dispatcher-with-send.ts',
        'out_buffer initiate_send() handle_write() writable() send()',
      ),
    ],
  },
  {
    python: 'asyncore.file_dispatcher',
    ours: 'FileDispatcher',
    names: [
      renamed('channels/file-dispatcher.ts', '__init__()', 'constructor()'),
      ...translated('channels/file-dispatcher.ts', 'set_file()'),
    ],
  },
  {
    python: 'asyncore.file_wrapper',
    ours: 'FileWrapper',
    names: [
      renamed('channels/file-dispatcher.ts', '__init__()', 'constructor()'),
      ...translated(
        'channels/file-dispatcher.ts',
        'fd fileno() recv() read() send() write() close()',
      ),
      renamed('channels/file-dispatcher.ts', 'getsockopt()', 'getSockOpt()'),
      ...without(
        'JavaScript has no destructors: lib/kernel/descriptor.ts closes what was dropped, with a warning',
        '__del__()',
      ),
    ],
  },
  {
    python: 'asynchat',
    ours: null,
    names: [
      renamed('chat/async-chat.ts', 'async_chat', 'AsyncChat()'),
      renamed('chat/producers/data.ts', 'simple_producer', 'SimpleProducer()'),
      ...translated('chat/record-reader.ts', 'find_prefix_at_end()'),
      renamed('chat/fifo.ts', 'deque', 'Fifo()'),
      ...without(OF_A_MODULE, 'asyncore'),
      ...without('a warning that the module will be removed', '_DEPRECATION_MSG _deprecated()'),
    ],
  },
  {
    python: 'asynchat.async_chat',
    ours: 'AsyncChat',
    names: [
      renamed('channels/dispatcher.ts', '__init__()', 'constructor()'),
      ...translated(
        'chat/async-chat.ts',
        `ac_in_buffer_size ac_out_buffer_size use_encoding encoding ac_in_buffer incoming
         producer_fifo terminator collect_incoming_data() _collect_incoming_data() _get_data()
         found_terminator() set_terminator() get_terminator() handle_read() handle_write()
         handle_close() push() push_with_producer() readable() writable() close_when_done()
         initiate_send() discard_buffers()`,
      ),
    ],
  },
  {
    python: 'asynchat.simple_producer',
    ours: 'SimpleProducer',
    names: [
      renamed('chat/producers/data.ts', '__init__()', 'constructor()'),
      ...translated('chat/producers/data.ts', 'buffer_size more()'),
      ...without('private: what is left of it is nobody else’s', 'data'),
    ],
  },
  {
    python: 'asynchat.async_chat',
    ours: 'AsyncChat',
    before: 'Python 2.5',
    names: translated('chat/async-chat.ts', 'refill_buffer() ac_out_buffer'),
  },
  {
    python: 'asynchat',
    ours: null,
    before: 'Python 2.5 to 3.5',
    names: [renamed('chat/fifo.ts', 'fifo', 'Fifo()')],
  },
  {
    python: 'asynchat.fifo',
    ours: 'Fifo',
    before: 'Python 2.5 to 3.5',
    names: [
      renamed('chat/fifo.ts', '__init__()', 'constructor()'),
      renamed('chat/fifo.ts', '__len__()', 'length'),
      ...translated('chat/fifo.ts', 'is_empty() first() push() pop()'),
      ...without('private: iterate over the fifo itself', 'list'),
    ],
  },
];

const INTRODUCTION = `# Names

Every name of \`asyncore\` and \`asynchat\` in CPython 3.11, and those of the manual of 2.5 that were
dropped since. Made from \`spec/support/names.ts\` with \`npx tsx spec/support/names.ts\`;
\`spec/docs/names.spec.ts\` compares the list with the real modules, and with what there is here.

What a class inherits stands at the class that it inherits it from, as in Python.
`;

/** Names that are missing for the same reason share a row. */
function rows(names: Name[]): string[] {
  const texts = new Map<string, string[]>();
  for (const { python, ours, where } of names) {
    const rest =
      ours === null
        ? `none | ${where} |`
        : `\`${ours.replace(/^([A-Z]\w*)\(\)$/, '$1')}\` | lib/${where} |`;
    texts.set(rest, [...(texts.get(rest) ?? []), `\`${python}\``]);
  }
  return [...texts].map(([rest, pythons]) => `| ${pythons.join(', ')} | ${rest}`);
}

function section({ python, ours, before, names }: Group): string {
  const title = `## ${python}${before === undefined ? '' : ` (${before})`}`;
  const head = `| Python | ${ours === null ? 'here' : `\`${ours}\``} | where, or why not |`;
  return [title, '', head, '|---|---|---|', ...rows(names), ''].join('\n');
}

/** docs/names.md. */
export function page(): string {
  return [INTRODUCTION, ...GROUPS.map(section)].join('\n');
}

if (require.main === module) writeFileSync(join(__dirname, '..', '..', 'docs', 'names.md'), page());
