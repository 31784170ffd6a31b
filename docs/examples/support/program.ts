// The common part of all example programs: reads the options, prints one line with the address, and serves
// until Ctrl-C.

import { isIPv6 } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  closeAll,
  type Dispatcher,
  type InternetAddress,
  loop,
  type SocketError,
  shutdown,
  socketMap,
} from 'asyncore';

/** The type of an option is that of its default: a text, an integer, or an address (null: none). */
export interface Option {
  readonly default: string | number | InternetAddress | null;
  readonly help: string;
  /** The placeholder for the value in the help. */
  readonly argument: string;
  /** The smallest number. Default: 0. */
  readonly least?: number;
  /** The largest number. */
  readonly most?: number;
  /** What a text looks like. Default: it is not empty. */
  readonly form?: RegExp;
}

/** `localhost:80`, `[::1]:80` */
const ADDRESS = /^(?:\[(?<ipv6>[^\]]+)\]|(?<host>[^:[\]\s]+)):(?<port>\d{1,5})$/;

export type Options = Readonly<Record<string, Option>>;

export type Values<Given extends Options> = {
  readonly [Name in keyof Given]: Given[Name]['default'] extends number
    ? number
    : Given[Name]['default'] extends string
      ? string
      : Given[Name]['default'] extends null
        ? InternetAddress | null
        : InternetAddress;
};

export interface Program<Given extends Options> {
  /** The name of its file. */
  readonly name: string;
  /** What to type before the options. Default: `npm run example NAME --` */
  readonly command?: string;
  /** A sentence for the help. */
  readonly about: string;
  readonly options: Given;
  /** Where to print the address. Default: stdout. */
  readonly tellOn?: NodeJS.WritableStream;
  /** The placeholder for the arguments in the help; at least one is required. Default: no arguments. */
  readonly words?: string;
  /** Creates the channels, in the default map. @returns the listener; null: there is none */
  start(values: Values<Given>, words: readonly string[]): Dispatcher | null;
  /** Called after a signal, when all channels are closed. */
  stopped?(closed: Closed): void;
}

/** The channels that stood in the default map when the signal came. */
export interface Closed {
  readonly listeners: number;
  /** All other channels. */
  readonly connections: number;
  /** Closed before all was sent: at the deadline, or by a second signal. */
  readonly cut: number;
}

/** The options of a server. */
export function listenOptions(port: number) {
  return {
    host: {
      default: '127.0.0.1',
      argument: 'ADDRESS',
      help: 'an IPv4 or IPv6 address of this machine',
    },
    port: { default: port, argument: 'N', most: 65535, help: '0 lets the system choose' },
  } satisfies Options;
}

export function familyOf(host: string): number {
  return isIPv6(host) ? AF_INET6 : AF_INET;
}

/** An IPv4 peer of an IPv6 socket is written as `::ffff:192.0.2.1`. */
export function hostOf(address: Address | null): string {
  return (address as InternetAddress).host.replace(/^::ffff:(?=[\d.]+$)/, '');
}

/** How long connections have to end after a signal, in ms. */
const PATIENCE = 5000;
/** npm and tsx pass Ctrl-C on to a program that has had it from the terminal already. In ms. */
const SAME_SIGNAL = 200;

/** Runs a program until its channels are closed: in order after a signal, at once after a second one. */
export function run<Given extends Options>(program: Program<Given>): void {
  const { name, tellOn = process.stdout } = program;
  const { values, words } = read(program);
  stopOnSignals(program);

  const serve = async (): Promise<void> => {
    const address = listen(program, values, words)?.address() ?? null;
    if (address !== null) tellOn.write(`${name}: listening on ${format(address)}\n`);
    await loop();
  };

  serve()
    .catch((error) => {
      const { code = '', message, stack } = error as NodeJS.ErrnoException;
      // An invalid value of an option.
      const isMisused = code.startsWith('ERR_');
      // An error of the system needs no stack trace either: a folder does not exist.
      const text = code === '' ? stack : message;
      process.stderr.write(`${name}: ${text}\n${isMisused ? usage(program) : ''}`);
      process.exitCode = isMisused ? 2 : 1;
    })
    .finally(() => closeAll());
}

function stopOnSignals({ stopped }: Pick<Program<Options>, 'stopped'>): void {
  /** When the first signal came, and what was open then. */
  let first: { readonly time: number; readonly open: Omit<Closed, 'cut'> } | null = null;

  const stop = async (open: Omit<Closed, 'cut'>): Promise<void> => {
    const cut = await shutdown(socketMap, { deadline: PATIENCE });
    stopped?.({ ...open, cut });
  };

  for (const [signal, number] of [
    ['SIGINT', constants.signals.SIGINT],
    ['SIGTERM', constants.signals.SIGTERM],
  ] as const) {
    process.on(signal, () => {
      const time = performance.now();
      if (first === null) {
        const channels = [...socketMap.values()] as Dispatcher[];
        const listeners = channels.filter(({ accepting }) => accepting).length;
        const open = { listeners, connections: channels.length - listeners };
        first = { time, open };
        void stop(open);
      } else if (time - first.time > SAME_SIGNAL) {
        const cut = socketMap.size;
        closeAll(socketMap, true);
        stopped?.({ ...first.open, cut });
        process.exit(128 + number);
      }
    });
  }
}

/** Starts the program. @throws {Error} which says what to type, when the port cannot be had */
function listen<Given extends Options>(
  program: Program<Given>,
  values: Values<Given>,
  words: readonly string[],
): Dispatcher | null {
  try {
    return program.start(values, words);
  } catch (error) {
    const { code = '', syscall = '', address } = error as Partial<SocketError>;
    const reason = syscall === 'bind' || syscall === 'listen' ? PORT_ERRORS[code] : undefined;
    if (reason === undefined || !('port' in program.options)) throw error;
    const what = `${address ?? 'the port'} ${reason}`;
    const remedy = `${commandOf(program)} --port N, with another N, or 0 for any free port`;
    throw Object.assign(new Error(`${what}. Type: ${remedy}`), { code });
  }
}

/** Another port would help. */
const PORT_ERRORS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is taken',
  EACCES: 'is for privileged users only',
};

/** In a package that is installed somewhere, npm knows none of the project's scripts. */
const installed = __dirname.indexOf('/node_modules/') + 1;

const commandOf = ({ name, command }: Pick<Program<Options>, 'name' | 'command'>): string => {
  if (installed > 0) return `npx tsx ${join(__dirname.slice(installed), '..', name)}.ts`;
  return command ?? `npm run example ${name} --`;
};

function read<Given extends Options>(
  program: Program<Given>,
): { values: Values<Given>; words: string[] } {
  const { name, options } = program;
  const fail = (message: string): never => {
    process.stderr.write(`${name}: ${message}\n${usage(program)}`);
    process.exit(2);
  };
  const texts = Object.keys(options).map((key) => [key, { type: 'string' }] as const);
  let given: Record<string, unknown>;
  let words: string[];
  try {
    const help = { type: 'boolean', short: 'h' } as const;
    const config = { ...Object.fromEntries(texts), help };
    const parsed = parseArgs({ options: config, allowPositionals: program.words !== undefined });
    ({ values: given, positionals: words } = parsed);
  } catch (error) {
    return fail((error as Error).message);
  }
  if (given.help === true) {
    process.stdout.write(usage(program));
    process.exit(0);
  }
  if (program.words !== undefined && words.length === 0) fail(`${program.words} is missing`);
  const values = Object.entries(options).map(([key, option]) => {
    const { default: otherwise, least = 0, most = Number.MAX_SAFE_INTEGER } = option;
    const value = given[key] ?? otherwise;
    if (value === otherwise) return [key, value];
    if (typeof otherwise === 'string') {
      const { argument, form = /./s } = option;
      return form.test(String(value)) ? [key, value] : fail(`--${key} takes ${argument}: ${value}`);
    }
    if (typeof otherwise === 'object') {
      const address = parse(String(value));
      return address === null ? fail(`--${key} takes HOST:PORT: ${value}`) : [key, address];
    }
    const number = Number(value);
    if (/^\d+$/.test(String(value)) && number >= least && number <= most) return [key, number];
    return fail(`--${key} takes a number from ${least} to ${most}: ${value}`);
  });
  return { values: Object.fromEntries(values), words };
}

function usage(program: Omit<Program<Options>, 'start'>): string {
  const { about, options, words } = program;
  const rows = Object.entries(options).map(([key, { argument, default: value, help }]) => [
    `--${key} ${argument}`,
    value === '' || value === null
      ? help
      : `${help} (default ${typeof value === 'object' ? format(value) : value})`,
  ]);
  const table = [...rows, ['-h, --help', 'prints this']] as [string, string][];
  const width = Math.max(...table.map(([option]) => option.length));
  return `${about}

Usage: ${commandOf(program)} [options]${words === undefined ? '' : ` ${words}`}
${table.map(([option, help]) => `  ${option.padEnd(width)}  ${help}\n`).join('')}`;
}

/** The opposite of `format`, for hosts that may be names, and ports that are not 0. */
function parse(text: string): InternetAddress | null {
  const { ipv6, host = ipv6, port } = ADDRESS.exec(text)?.groups ?? {};
  if (host === undefined || (ipv6 !== undefined && !isIPv6(ipv6))) return null;
  return Number(port) >= 1 && Number(port) <= 65535 ? { host, port: Number(port) } : null;
}

/** `127.0.0.1:80`, `[::1]:80`, or a Unix path. */
export function format(address: Address): string {
  if ('path' in address) return address.path;
  const { host, port } = address;
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}
