// Channels of a map that a loop runs on, as streams of Node's need it, with a bare peer at the other end.

import {
  type ChannelDuplex,
  type ChannelMap,
  type DuplexOptions,
  loop,
  type Socket,
  toDuplex,
} from 'asyncore';
import { WAYS, type Way } from './drive';
import { newMap } from './keep';
import { LineChat } from './limits';
import { until } from './program';
import { connection, pair, received } from './sockets';

/** loop() in both orders: loopSync serves neither promises nor nextTick. */
export const LOOPS = WAYS.filter(([, { sync }]) => !sync);

/** Runs a loop that ends when the channels are closed after the test. */
export function run(map: ChannelMap, { usePoll }: Way): void {
  void loop({ map, usePoll });
}

/** A stream over one end of a connection, and the other end. Its events are noted. */
export interface Stream {
  readonly duplex: ChannelDuplex;
  readonly peer: Socket;
  readonly map: ChannelMap;
  readonly events: string[];
}

const EVENTS = ['connect', 'ready', 'end', 'finish', 'error', 'close', 'timeout'] as const;

export function note(duplex: ChannelDuplex): string[] {
  const events: string[] = [];
  for (const event of EVENTS) {
    duplex.on(event, (value: { code?: string } | undefined) => {
      events.push(value?.code === undefined ? event : `${event} ${value.code}`);
    });
  }
  return events;
}

export function streamWithPeer(
  how: Way,
  { unix = false, ...options }: DuplexOptions & { unix?: boolean } = {},
): Stream {
  const map = newMap();
  const [peer, ours] = unix ? pair() : connection();
  const duplex = toDuplex(ours, { map, ...options });
  const events = note(duplex);
  run(map, how);
  return { duplex, peer, map, events };
}

/** All that a peer hears until the end of the stream. */
export async function heardBy(peer: Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await until(() => {
    for (;;) {
      const data = peer.recv(65536);
      if (data === null) return false;
      if (data.length === 0) return true;
      pieces.push(data);
    }
  });
  return Buffer.concat(pieces);
}

/** A chat whose producer has yielded `one `, which the peer has heard, and yields `two ` when it is told to. */
export async function chatThatPromises(how: Way) {
  const map = newMap();
  const [peer, ours] = pair();
  const chat = new LineChat(ours, map);
  let resume = (): void => {};
  const resumed = new Promise<void>((resolve) => {
    resume = resolve;
  });
  async function* pieces(): AsyncGenerator<string> {
    yield 'one ';
    await resumed;
    yield 'two ';
  }
  chat.pushFrom(pieces());
  run(map, how);
  await until(() => received(peer) === 'one ');
  return { map, peer, ours, chat, resume };
}
