// Plays scenarios (scenario.ts) on this library, and writes down what happens.
//
// What must be believed: a verb does here what scenario_driver.py does for it, through our name of
// the same call, and neither of the two knows what a scenario is expected to do. Lines are raw: what
// has to be made equal is made so by normalise.ts, for both sides.

import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Address,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  ChannelMap,
  closeAll,
  Dispatcher,
  DispatcherWithSend,
  ExitNow,
  errorCode,
  exception,
  FileDispatcher,
  loop,
  loopSync,
  MSG_OOB,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
  POLLPRI,
  poll,
  poll2,
  read,
  readwrite,
  SHUT_WR,
  SO_LINGER,
  SO_SNDBUF,
  SOCK_DGRAM,
  SOCK_STREAM,
  SOL_SOCKET,
  Socket,
  SocketError,
  socketMap,
  strerror,
  write,
} from 'asyncore';
import { codeOf } from '../../../lib/errors';
import { formatAddress } from '../../../lib/kernel/address';
import { ERRNO } from '../../../lib/kernel/platform/linux';
import { createSelector } from '../../../lib/kernel/selectors';
import { makePipe } from '../../support/make-pipe';
import type { Order, Scenario } from './scenario';

/** One way to run a scenario: in which order, and by loop() or loopSync(). */
export interface Way {
  order: Order;
  sync: boolean;
}

/** What a scenario says must happen, happens within this: ms. */
const LIMIT = 4000;

const FAMILIES: Record<string, [family: number, type: number]> = {
  tcp: [AF_INET, SOCK_STREAM],
  tcp6: [AF_INET6, SOCK_STREAM],
  unix: [AF_UNIX, SOCK_STREAM],
  udp: [AF_INET, SOCK_DGRAM],
};
const EVENTS: Record<string, number> = {
  in: POLLIN,
  pri: POLLPRI,
  out: POLLOUT,
  err: POLLERR,
  hup: POLLHUP,
};
const HANDLERS = ['read', 'write', 'expt', 'connect', 'accept', 'accepted', 'close', 'error'];
const BASES = { plain: Dispatcher, withSend: DispatcherWithSend, file: FileDispatcher };

/** What a scenario raises with `raise`. */
class Scripted extends Error {}

/** What is the matter with the scenario or this machine, and no part of any trace. */
class Broken extends Error {}

type Method = (this: Dispatcher, ...args: unknown[]) => unknown;

function nameOfError(error: unknown): string {
  if (error instanceof Scripted) return error.message;
  return codeOf(error) ?? (error as Error).constructor.name;
}

function shown(data: Uint8Array | null): string {
  if (data === null || data.length === 0) return 'nothing';
  return data.length < 40 ? Buffer.from(data).toString('latin1') : `${data.length} bytes`;
}

function bitsOf(events: string[]): number {
  return events.reduce((bits, event) => bits | (EVENTS[event] as number), 0);
}

function flagsOf(channel: Dispatcher): string[] {
  const flags = ['connected', 'accepting', 'connecting'] as const;
  return flags.filter((flag) => channel[flag]);
}

/** Plays `scenario`. @returns its trace, raw */
export async function play(scenario: Scenario, way: Way): Promise<string[]> {
  const world = new World(scenario, way);
  const release = world.capture();
  try {
    for (const line of scenario.steps) await world.step(line);
  } catch (error) {
    throw new Error(`the scenario '${scenario.name}' is broken`, { cause: error });
  } finally {
    release();
    world.clean();
  }
  return world.trace;
}

class World {
  readonly trace: string[] = [];
  readonly #scenario: Scenario;
  readonly #way: Way;
  readonly #channels = new Map<string, Dispatcher>();
  /** Sockets, and descriptors as numbers. */
  readonly #things = new Map<string, Socket | number>();
  readonly #maps = new Map([['', socketMap]]);
  readonly #wants = new Map<string, string>();
  readonly #calls = new Map<string, number>();
  readonly #callers = new Map<string, number>();
  readonly #directory = mkdtempSync(join(tmpdir(), 'asyncore-'));
  #paths = 0;
  #failingAccept: (() => void) | null = null;

  constructor(scenario: Scenario, way: Way) {
    this.#scenario = scenario;
    this.#way = way;
  }

  #note(line: string): void {
    this.trace.push(line);
  }

  /** Writes down what is printed, and warnings of the process. @returns how to end that */
  capture(): () => void {
    const warn = process.emitWarning;
    process.emitWarning = ((_: unknown, options: { code: string }) => {
      this.#note(`warning ${options.code}`);
    }) as typeof process.emitWarning;
    const ends = [this.#captureStream('stdout'), this.#captureStream('stderr')];
    return () => {
      process.emitWarning = warn;
      for (const end of ends) end();
    };
  }

  #captureStream(name: 'stdout' | 'stderr'): () => void {
    const stream = process[name];
    const original = stream.write;
    stream.write = ((text: string) => {
      this.#note(`${name} ${JSON.stringify(text)}`);
      return true;
    }) as typeof stream.write;
    return () => {
      stream.write = original;
    };
  }

  // -------------------------------------------------------------------------------------------
  // Channels.

  #make(name: string, subject?: Socket | number): void {
    const { kind = 'plain', wants = 'stock', map = '' } = this.#definition(name);
    const Base = BASES[kind] as typeof Dispatcher;
    const Channel = class Channel extends Base {};
    const methods: Record<string, Method> = {
      close: this.#method(name, 'close()', Base.prototype.close),
      toString: this.#method(name, 'repr()', Base.prototype.toString),
    };
    for (const handler of HANDLERS) {
      const method = `handle${handler[0]?.toUpperCase()}${handler.slice(1)}`;
      const original = Base.prototype[method as keyof Dispatcher] as Method;
      methods[method] = this.#handler(name, handler, original);
    }
    this.#wants.set(name, wants);
    if (wants !== 'stock') {
      methods.readable = this.#predicate(name, 'readable', 'r');
      methods.writable = this.#predicate(name, 'writable', 'w');
    }
    for (const [method, value] of Object.entries(methods)) {
      Object.defineProperty(Channel.prototype, method, { value });
    }
    this.#channels.set(name, new Channel(subject as Socket | undefined, this.#map(map)));
  }

  #handler(name: string, handler: string, original: Method): Method {
    const world = this;
    return function (...args) {
      let detail = '';
      if (handler === 'error') detail = ` ${nameOfError(args[0])}`;
      if (handler === 'accepted') {
        const number = (world.#callers.get(name) ?? 0) + 1;
        world.#callers.set(name, number);
        world.#things.set(`${name}.${number}`, args[0] as Socket);
        detail = ` ${formatAddress(args[1] as Address)}`;
      }
      world.#note([`${name}.${handler}`, ...flagsOf(this)].join(' ') + detail);
      return world.#react(name, handler, () => original.apply(this, args));
    };
  }

  #method(name: string, key: string, original: Method): Method {
    const world = this;
    return function () {
      return world.#react(name, key, () => original.apply(this));
    };
  }

  #predicate(name: string, method: string, letter: string): Method {
    return () => {
      const answer = this.#wants.get(name)?.includes(letter) === true;
      if (this.#scenario.predicates) this.#note(`${name}.${method}() ${answer}`);
      this.#react(name, `${method}()`, () => {});
      return answer;
    };
  }

  #react(name: string, key: string, original: () => unknown): unknown {
    const count = (this.#calls.get(`${name}.${key}`) ?? 0) + 1;
    this.#calls.set(`${name}.${key}`, count);
    const { on = {} } = this.#definition(name);
    const script = on[`${key}#${count}`] ?? on[key];
    if (script === undefined) return original();
    for (const line of script) {
      if (line === 'base') original();
      else this.#perform(line);
    }
    return undefined;
  }

  #definition(name: string) {
    const definition = this.#scenario.channels[name];
    if (definition === undefined) throw new Broken(`no channel ${name}`);
    return definition;
  }

  #map(name: string): ChannelMap {
    const known = this.#maps.get(name);
    if (known !== undefined) return known;
    const map = new ChannelMap();
    this.#maps.set(name, map);
    return map;
  }

  // -------------------------------------------------------------------------------------------
  // Steps.

  async step(line: string): Promise<void> {
    const [word, ...rest] = line.split(' ');
    if (word === 'pass') {
      await this.#passes(Object.fromEntries(rest.map((option) => option.split('='))));
      return;
    }
    try {
      this.#perform(line);
    } catch (error) {
      if (error instanceof Broken) throw error;
      this.#note(`! ${nameOfError(error)}`);
    }
  }

  async #passes(options: Record<string, string>): Promise<void> {
    const { timeout = LIMIT, count = '1', map = '', atLeast } = options;
    const began = performance.now();
    const checked = {
      timeout: timeout === 'forever' ? Number.POSITIVE_INFINITY : Number(timeout),
      count: count === 'all' ? Number.POSITIVE_INFINITY : Number(count),
      usePoll: this.#way.order === 'poll',
      map: this.#map(map),
    };
    try {
      if (this.#way.sync) loopSync(checked);
      else await loop(checked);
    } catch (error) {
      this.#note(`the loop threw ${nameOfError(error)}`);
    }
    if (atLeast !== undefined) {
      const waited = performance.now() - began >= Number(atLeast);
      this.#note(waited ? 'waited' : 'did not wait');
    }
    for (const [name, channels] of this.#maps) {
      const names = [...channels.values()].map((channel) => this.#nameOf(channel as Dispatcher));
      this.#note(['--', ...(name === '' ? [] : [`${name}:`]), ...names].join(' '));
    }
  }

  #nameOf(channel: Dispatcher): string {
    for (const [name, known] of this.#channels) if (known === channel) return name;
    throw new Broken('a channel that nobody knows');
  }

  #perform(line: string): void {
    const [subject = '', ...rest] = line.split(' ');
    const global = this.#global[subject];
    if (global !== undefined) {
      global(...rest);
      return;
    }
    const [verb = '', ...args] = rest;
    const verbs = subject in this.#scenario.channels ? this.#onChannels : this.#onThings;
    const perform = verbs[verb];
    if (perform === undefined) throw new Broken(`cannot ${line}`);
    perform(subject, ...args);
  }

  readonly #global: Record<string, (...args: string[]) => void> = {
    raise: (text) => {
      throw new Scripted(text);
    },
    fail: (code = '') => {
      const errno = ERRNO[code as keyof typeof ERRNO];
      throw new SocketError(code, errno, 'scripted', strerror(errno));
    },
    exit: () => {
      throw new ExitNow('over');
    },
    poll: () => {
      if (this.#way.order === 'poll') poll2(0);
      else poll(0);
    },
    closeAll: (...options) => {
      const named = options.find((option) => option.startsWith('map='));
      closeAll(this.#map(named?.slice(4) ?? ''), options.includes('ignore'));
    },
  };

  // -------------------------------------------------------------------------------------------
  // Sockets, pipes and files.

  #socket(name: string): Socket {
    const thing = this.#channels.get(name)?.socket ?? this.#things.get(name);
    if (thing === undefined || typeof thing === 'number') throw new Broken(`no socket ${name}`);
    return thing as Socket;
  }

  #fd(name: string): number {
    const thing = this.#things.get(name);
    return typeof thing === 'number' ? thing : this.#socket(name).fileno();
  }

  #path(): string {
    this.#paths += 1;
    return join(this.#directory, `path${this.#paths}`);
  }

  #localAddress(family: number): Address {
    if (family === AF_UNIX) return { path: this.#path() };
    return { host: family === AF_INET6 ? '::1' : '127.0.0.1', port: 0 };
  }

  #addressOf(name: string): Address {
    if (name === 'nowhere') return { path: join(this.#directory, 'nowhere') };
    return this.#socket(name).getSockName();
  }

  #open(name: string, kind: string): Socket {
    const socket = Socket.socket(...(FAMILIES[kind] as [number, number]));
    this.#things.set(name, socket);
    return socket;
  }

  /** Waits until the kernel has all of `events` to tell. */
  #ready(name: string, events: string[]): void {
    const expected = bitsOf(events);
    const selector = createSelector('poll');
    try {
      selector.register(this.#fd(name), expected);
      let found = 0;
      for (const end = performance.now() + LIMIT; (found & expected) !== expected; ) {
        if (performance.now() > end) throw new Broken(`not ready: ${name} ${events}, but ${found}`);
        found = selector.select(1) === 0 ? 0 : (selector.masks[0] as number);
      }
    } finally {
      selector.close();
    }
  }

  #accept(name: string, accepted: string): void {
    this.#ready(name, ['in']);
    const caller = this.#socket(name).accept();
    if (caller === null) throw new Broken(`${name} has no caller`);
    this.#things.set(accepted, caller.socket);
  }

  #closeThing(name: string): void {
    const thing = this.#things.get(name);
    this.#things.delete(name);
    if (typeof thing === 'number') closeSync(thing);
    else thing?.close();
  }

  #sendThing(name: string, text: string): void {
    const thing = this.#things.get(name);
    if (typeof thing === 'number') writeSync(thing, text);
    else this.#socket(name).send(Buffer.from(text));
  }

  /** Calls a listener until it takes no more. */
  #fill(name: string): void {
    const { family, type } = this.#socket(name);
    for (let number = 0; number < 100; number += 1) {
      const caller = Socket.socket(family, type);
      this.#things.set(`${name}.fill${number}`, caller);
      if (caller.connectEx(this.#addressOf(name)) === ERRNO.EAGAIN) return;
      if (family === AF_UNIX) continue;
      const selector = createSelector('poll');
      selector.register(caller.fileno(), POLLOUT);
      const connected = selector.select(100) > 0;
      selector.close();
      if (!connected) {
        // It would call again, and take the next place.
        this.#closeThing(`${name}.fill${number}`);
        return;
      }
    }
  }

  readonly #onThings: Record<string, (name: string, ...args: string[]) => void> = {
    socket: (name, kind = '') => {
      this.#open(name, kind);
    },
    bind: (name) => this.#socket(name).bind(this.#localAddress(this.#socket(name).family)),
    listen: (name, backlog) => this.#socket(name).listen(Number(backlog)),
    connect: (name, target = '') => {
      this.#socket(name).connect(this.#addressOf(target));
    },
    accept: (name, accepted = '') => this.#accept(name, accepted),
    pair: (name, other = '', kind = '') => {
      if (kind === 'unix') {
        const [one, two] = Socket.pair();
        this.#things.set(name, one).set(other, two);
        return;
      }
      const listener = this.#open('pair', kind);
      listener.bind(this.#localAddress(listener.family));
      listener.listen(1);
      this.#open(name, kind).connect(listener.getSockName());
      this.#accept('pair', other);
      this.#closeThing('pair');
      this.#ready(name, ['out']);
    },
    pipe: (name, other = '') => {
      const path = this.#path();
      makePipe(path);
      this.#things.set(name, openSync(path, constants.O_RDONLY | constants.O_NONBLOCK));
      this.#things.set(other, openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
    },
    file: (name, text = '') => {
      const path = this.#path();
      writeFileSync(path, text);
      this.#things.set(name, openSync(path, 'r+'));
    },
    fill: (name) => this.#fill(name),
    send: (name, text = '') => this.#sendThing(name, text),
    big: (name, count) => this.#sendThing(name, 'x'.repeat(Number(count))),
    sendto: (name, target = '', text = '') => {
      const data = Buffer.from(text === 'nothing' ? '' : text);
      this.#socket(name).sendTo(data, this.#addressOf(target));
    },
    oob: (name, text = '') => {
      this.#socket(name).send(Buffer.from(text), MSG_OOB);
    },
    recv: (name, size) => {
      this.#ready(name, ['in']);
      this.#note(`${name} got ${shown(this.#socket(name).recv(Number(size)))}`);
    },
    shutdown: (name) => this.#socket(name).shutdown(SHUT_WR),
    reset: (name) => {
      const linger = Buffer.alloc(8);
      linger.writeInt32LE(1);
      this.#socket(name).setSockOpt(SOL_SOCKET, SO_LINGER, linger);
      this.#closeThing(name);
    },
    smallBuffer: (name) => this.#socket(name).setSockOpt(SOL_SOCKET, SO_SNDBUF, 4096),
    close: (name) => this.#closeThing(name),
    // Closes it, and does not forget it.
    end: (name) => this.#socket(name).close(),
    ready: (name, ...events) => this.#ready(name, events),
  };

  // -------------------------------------------------------------------------------------------
  // What channels are told to do.

  #channel(name: string): Dispatcher {
    const channel = this.#channels.get(name);
    if (channel === undefined) throw new Broken(`${name} has not been made`);
    return channel;
  }

  readonly #onChannels: Record<string, (name: string, ...args: string[]) => void> = {
    new: (name, thing) => {
      this.#make(name, thing === undefined ? undefined : this.#things.get(thing));
    },
    ready: (name, ...events) => this.#ready(name, events),
    fill: (name) => this.#fill(name),
    createSocket: (name, kind) => {
      this.#channel(name).createSocket(...(kind === undefined ? [] : (FAMILIES[kind] ?? [])));
    },
    setSocket: (name, thing = '') => this.#channel(name).setSocket(this.#socket(thing)),
    socketAs: (name, thing = '') => {
      this.#things.set(thing, this.#socket(name));
    },
    reuseAddr: (name) => this.#channel(name).setReuseAddr(),
    bind: (name) => this.#channel(name).bind(this.#localAddress(this.#socket(name).family)),
    listen: (name, backlog) => this.#channel(name).listen(Number(backlog)),
    connect: (name, target = '') => this.#channel(name).connect(this.#addressOf(target)),
    accept: (name) => {
      const caller = this.#channel(name).accept();
      this.#note(`${name} accepted ${caller === null ? 'nothing' : 'a caller'}`);
      caller?.socket.close();
    },
    recv: (name, size) => {
      this.#note(`${name} received ${shown(this.#channel(name).recv(Number(size)))}`);
    },
    recvfrom: (name, size) => {
      const { data, address } = this.#socket(name).recvFrom(Number(size)) ?? {};
      const from = address === undefined ? 'nobody' : formatAddress(address);
      this.#note(`${name} received ${shown(data ?? null)} from ${from}`);
    },
    recvOob: (name) => {
      this.#note(`${name} received urgent ${shown(this.#socket(name).recv(1, MSG_OOB))}`);
    },
    send: (name, text = '') => {
      this.#note(`${name} sent ${this.#channel(name).send(Buffer.from(text))}`);
    },
    big: (name, count) => {
      const sent = this.#channel(name).send(Buffer.alloc(Number(count), 'x'));
      const amount = sent === Number(count) ? 'all' : sent > 0 ? 'some' : sent;
      this.#note(`${name} sent ${amount}`);
    },
    push: (name, text = '') => {
      this.#channel(name).send(Buffer.from(text));
    },
    pushBig: (name, count) => {
      this.#channel(name).send(Buffer.alloc(Number(count), 'x'));
    },
    waiting: (name) => {
      const left = (this.#channel(name) as DispatcherWithSend).outBuffer.length;
      this.#note(`${name} has ${left > 0 ? 'something' : 'nothing'} waiting`);
    },
    shutdown: (name) => this.#socket(name).shutdown(SHUT_WR),
    close: (name) => this.#channel(name).close(),
    closeSocket: (name) => this.#socket(name).close(),
    wants: (name, wants = '') => {
      this.#wants.set(name, wants);
    },
    set: (name, flag = '', value) => {
      this.#channel(name)[flag as 'connected' | 'accepting' | 'connecting'] = value === 'true';
    },
    repr: (name) => this.#note(String(this.#channel(name))),
    state: (name) => {
      const channel = this.#channel(name);
      const address = channel.addr === null ? 'none' : formatAddress(channel.addr);
      const number = channel.fileno() === null ? 'no descriptor' : 'a descriptor';
      const predicates = (['readable', 'writable'] as const).filter((ask) => channel[ask]());
      const words = [name, 'is', ...flagsOf(channel), ...predicates].join(' ');
      this.#note(`${words}, addr ${address}, ${number}`);
    },
    log: (name, text) => this.#channel(name).log(text),
    logNumber: (name, number) => {
      this.#channel(name).log(Number(number));
      this.#channel(name).logInfo(Number(number));
    },
    logInfo: (name, text, type) => this.#channel(name).logInfo(text, type),
    ignore: (name, ...types) => {
      this.#channel(name).ignoreLogTypes = new Set(types);
    },
    debug: (name) => {
      this.#channel(name).debug = true;
    },
    event: (name, event, ...flags) => {
      const channel = this.#channel(name);
      if (event === 'readwrite') readwrite(channel, bitsOf(flags));
      else if (event === 'read') read(channel);
      else if (event === 'write') write(channel);
      else exception(channel);
    },
    addChannel: (name, map) => {
      this.#channel(name).addChannel(map === undefined ? undefined : this.#map(map));
    },
    delChannel: (name, map) => {
      this.#channel(name).delChannel(map === undefined ? undefined : this.#map(map));
    },
    // Closes the channel, and opens a socket that gets its number.
    replacedBy: (name, thing = '') => {
      const fd = this.#fd(name);
      this.#channel(name).close();
      const spare: Socket[] = [];
      let made = Socket.socket(AF_UNIX);
      for (; made.fileno() !== fd; made = Socket.socket(AF_UNIX)) {
        spare.push(made);
        if (made.fileno() > fd) break;
      }
      for (const socket of spare) socket.close();
      if (made.closed) throw new Broken('the number was taken');
      this.#things.set(thing, made);
    },
    // The next accept of any socket fails.
    failAccept: (_name, code = '') => {
      const original = Socket.prototype.accept;
      this.#failingAccept = () => {
        Socket.prototype.accept = original;
        this.#failingAccept = null;
      };
      Socket.prototype.accept = () => {
        this.#failingAccept?.();
        const errno = ERRNO[code as keyof typeof ERRNO];
        throw new SocketError(errorCode(errno), errno, 'accept', strerror(errno));
      };
    },
  };

  /** Whatever has become of the scenario, nothing of it is left. */
  clean(): void {
    this.#failingAccept?.();
    for (const map of this.#maps.values()) map.clear();
    for (const { socket } of this.#channels.values()) {
      try {
        socket?.close();
      } catch (error) {
        // Its descriptor was closed by number.
        if (codeOf(error) !== 'EBADF') throw error;
      }
    }
    for (const name of [...this.#things.keys()]) this.#closeThing(name);
    rmSync(this.#directory, { recursive: true });
  }
}
