// Host names that stand for what a test says, and ports of this machine that accept, refuse, or say nothing.

import dns from 'node:dns';
import { AF_INET, type InternetAddress, SO_REUSEADDR, SOL_SOCKET, Socket } from 'asyncore';
import { encodeAddress, familyOfAddress } from '../../lib/kernel/address';
import * as resolver from '../../lib/kernel/resolver';
import { keep } from './keep';
import { freePort } from './ports';

type Answer = (error: NodeJS.ErrnoException | null, found: dns.LookupAddress[]) => void;

/** What was asked of Node's resolver. */
export interface Asked {
  readonly host: string;
  readonly family: unknown;
  /** Answers now, if the answer was held. */
  answer(): void;
}

/**
 * Every name stands for these literals, whichever resolver is asked.
 * @param held Node's resolver answers when the test says so
 */
export function resolveTo(hosts: readonly string[], held = false): Asked[] {
  const asked: Asked[] = [];
  const familyOf = (host: string): number => familyOfAddress({ host, port: 0 });
  const found = hosts.map((address) => ({
    address,
    family: familyOf(address) === AF_INET ? 4 : 6,
  }));
  jest.spyOn(dns, 'lookup').mockImplementation(((
    host: string,
    { family }: dns.LookupAllOptions,
    callback: Answer,
  ) => {
    const answer = (): void =>
      callback(
        null,
        found.filter((address) => !family || address.family === family),
      );
    asked.push({ host, family, answer });
    if (!held) setImmediate(answer);
  }) as never);
  jest
    .spyOn(resolver, 'getaddrinfo')
    .mockImplementation((_, family) =>
      hosts
        .filter((host) => family === 0 || familyOf(host) === family)
        .map((host) => encodeAddress({ host, port: 0 }, familyOf(host), 'connect')),
    );
  return asked;
}

function listenAt(address: InternetAddress, backlog: number): Socket {
  const listener = keep(Socket.socket(familyOfAddress(address)));
  listener.setSockOpt(SOL_SOCKET, SO_REUSEADDR, 1);
  listener.bind(address);
  listener.listen(backlog);
  return listener;
}

/** A listener. */
export const accepting = (address: InternetAddress): Socket => listenAt(address, 32);

/**
 * A listener whose backlog is full, so that the kernel drops each SYN.
 * @returns a function that makes room: the next SYN of a connect that waits, after 1 s or 2, is answered
 */
export function silent(address: InternetAddress): () => void {
  const listener = listenAt(address, 0);
  const filler = keep(Socket.socket(familyOfAddress(address)));
  filler.connect(address);
  return () => {
    for (let next = listener.accept(); next !== null; next = listener.accept()) keep(next.socket);
    listener.listen(32);
  };
}

/** What stands at a port of some address of this machine. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

/** The same port of several addresses of this machine: nothing listens there. */
export async function places(...hosts: string[]): Promise<[Place, ...Place[]]> {
  const port = await freePort();
  return hosts.map((host) => ({ host, port })) as [Place, ...Place[]];
}
