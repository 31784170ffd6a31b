// The look-up of a host name, which blocks no other channel.
//
// Node's resolver answers under `loop`. As soon as the thread is about to block anyway (`loopSync`, `poll`),
// Node's answer could not arrive, and getaddrinfo(3) is called. The first answer counts.

import { lookup } from 'node:dns';
import { lookUpHost, lookUpHosts } from '../kernel/address';
import { lookupError } from '../kernel/errno';
import { AF_INET, AF_INET6 } from '../kernel/platform/constants';
import type { Registry } from '../loop/registry';

/** Returns what was found, or throws a SocketError. */
type Found<Result> = () => Result;

/** Node's numbers; 0, which is AF_UNSPEC's as well: both families. */
const NODE_FAMILIES: Readonly<Record<number, number>> = { [AF_INET]: 4, [AF_INET6]: 6 };

/**
 * Looks for the first address of a family.
 * @param arrived called once, with what returns the address as a literal, or throws
 */
export function lookUpOne(
  registry: Registry,
  host: string,
  family: number,
  type: number,
  arrived: (found: Found<string>) => void,
): void {
  const { answer } = defer(registry, () => lookUpHost(host, family, type), arrived);
  lookup(host, { family: NODE_FAMILIES[family] ?? 0 }, (error, literal) => {
    answer(() => checked(error, host, literal));
  });
}

/**
 * Looks for all addresses, in the resolver's order.
 * @param family `AF_UNSPEC`: of both families
 * @param arrived called once, with what returns the addresses as literals, or throws
 * @returns a function that cancels the look-up
 */
export function lookUpAll(
  registry: Registry,
  host: string,
  family: number,
  type: number,
  arrived: (found: Found<string[]>) => void,
): () => void {
  const { answer, cancel } = defer(registry, () => lookUpHosts(host, family, type), arrived);
  lookup(host, { all: true, family: NODE_FAMILIES[family] ?? 0 }, (error, found) => {
    answer(() => checked(error, host, found).map(({ address }) => address));
  });
  return cancel;
}

/** A look-up that may be answered by either resolver. */
interface Pending<Result> {
  /** Takes the answer of Node's resolver. */
  answer(found: Found<Result>): void;
  cancel(): void;
}

/** Puts the blocking look-up off until the thread is about to block. */
function defer<Result>(
  registry: Registry,
  block: Found<Result>,
  arrived: (found: Found<Result>) => void,
): Pending<Result> {
  const answer = (found: Found<Result>): void => {
    // The slower of the two answers comes too late.
    if (registry.undefer(blocking)) arrived(found);
  };
  const blocking = (): void => answer(block);
  registry.defer(blocking);
  return { answer, cancel: () => registry.undefer(blocking) };
}

function checked<Result>(
  error: NodeJS.ErrnoException | null,
  host: string,
  result: Result,
): Result {
  if (error === null) return result;
  throw lookupError(error.code ?? 'ENOTFOUND', host);
}
