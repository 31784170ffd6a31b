// The timers of one channel. They end when it closes, and when another channel takes its socket over; a socket
// that takes the place of another one leaves them.

import { handleResult, routeError } from '../loop/dispatch';
import type { Registry } from '../loop/registry';
import type { TimerHandle } from '../loop/timer-handle';
import { type Timer, Timers } from '../loop/timers';
import { theSession } from './channel-base';
import { handleTimeout, type IdleChannel } from './idle-timeout';

export class ChannelTimers extends Timers {
  override ended = false;
  readonly #active = new Set<Timer>();
  #registry: Registry;
  #deadline: TimerHandle | null = null;

  /** @param registry of the map that the channel stands in */
  constructor(
    readonly self: IdleChannel,
    registry: Registry,
  ) {
    super();
    this.#registry = registry;
  }

  get registry(): Registry {
    return this.#registry;
  }

  /** @param duration in ms; 0: no deadline */
  setDeadline(duration: number): void {
    this.#deadline?.cancel();
    const call = (): unknown => this.#deadlineComes();
    this.#deadline = duration === 0 ? null : this.callLater(duration, call, []);
  }

  #deadlineComes(): unknown {
    const { closed, socket } = this.self[theSession];
    // The deadline may have been set when the channel had closed, or had given its socket to another one.
    const owner = socket?.owner ?? this.self;
    return closed || owner !== this.self ? undefined : handleTimeout(this.self, 'deadline');
  }

  override report(_timer: Timer, error: unknown): void {
    routeError(this.self, error);
  }

  override follow(_timer: Timer, promise: PromiseLike<unknown>): void {
    handleResult(this.self, promise);
  }

  override note(timer: Timer): void {
    if (timer.active) this.#active.add(timer);
    else this.#active.delete(timer);
  }

  override run(timer: Timer): void {
    super.run(timer);
    // The function may have changed what a predicate answers, or have replaced one.
    this.self[theSession].interestChanged();
  }

  /** The channel stands in another map now: its timers go by that one's clock. */
  moveTo(registry: Registry): void {
    const former = this.#registry;
    if (former === registry) return;
    this.#registry = registry;
    const [from, to] = [former.deadlines.clock, registry.deadlines.clock];
    const shift = from === to ? 0 : to.now() - from.now();
    const inOrder = [...this.#active].sort((one, two) => one.at - two.at || one.order - two.order);
    for (const timer of inOrder) {
      const due = timer.at + shift;
      former.deadlines.clear(timer);
      timer.startAt(due);
    }
    // Its loop may have gone on for one of them.
    former.wake();
  }

  /** None of these timers calls anything any more. */
  end(): void {
    this.ended = true;
    for (const timer of this.#active) timer.cancel();
  }
}
