// The common part of all example programs: reads the options, prints one line with the address, and serves
// until Ctrl-C.

import { isIPv6 } from 'node:net';
import { parseArgs } from 'node:util';
import {
  type Address,
  AF_INET,
  AF_INET6,
  closeAll,
  type Dispatcher,
  type InternetAddress,
  loop,
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
  /** A sentence for the help. */
  readonly about: string;
  readonly options: Given;
  /** Where to print the address. Default: stdout. */
  readonly tellOn?: NodeJS.WritableStream;
  /** The placeholder for the arguments in the help; at least one is required. Default: no arguments. */
  readonly words?: string;
  /** Creates the channels, in the default map. @returns the listener; null: there is none */
  start(values: Values<Given>, words: readonly string[]): Dispatcher | null;
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

/** Runs a program until its channels are closed: in order after a signal, at once after a second one. */
export function run<Given extends Options>(program: Program<Given>): void {
  const { name, tellOn = process.stdout } = program;
  const { values, words } = read(program);
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.once(signal, () => {
      process.once(signal, () => closeAll());
      void shutdown(socketMap, { deadline: PATIENCE });
    });
  }

  const serve = async (): Promise<void> => {
    const address = program.start(values, words)?.address() ?? null;
    if (address !== null) tellOn.write(`${name}: listening on ${format(address)}\n`);
    await loop();
  };

  serve()
    .catch((error) => {
      const { code = '', message, stack } = error as NodeJS.ErrnoException;
      // An invalid value of an option.
      const isMisused = code.startsWith('ERR_');
      // An error of the system needs no stack trace either: the port is taken, a folder does not exist.
      const text = code === '' ? stack : message;
      process.stderr.write(`${name}: ${text}\n${isMisused ? usage(program) : ''}`);
      process.exitCode = isMisused ? 2 : 1;
    })
    .finally(() => closeAll());
}

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
    const config = { ...Object.fromEntries(texts), help: { type: 'boolean' } } as const;
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

function usage({ name, about, options, words }: Omit<Program<Options>, 'start'>): string {
  const rows = Object.entries(options).map(([key, { argument, default: value, help }]) => [
    `--${key} ${argument}`,
    value === '' || value === null
      ? help
      : `${help} (default ${typeof value === 'object' ? format(value) : value})`,
  ]);
  const table = [...rows, ['--help', 'prints this']] as [string, string][];
  const width = Math.max(...table.map(([option]) => option.length));
  return `${about}

Usage: npm run example ${name} -- [options]${words === undefined ? '' : ` ${words}`}
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
