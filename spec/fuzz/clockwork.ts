// The timers of a world: made by the map and by actors, cancelled and reset at random, and what must be true
// of them. None is called early, twice, when it was cancelled, or when its channel has closed since.

import type { ChannelMap, TimerHandle } from 'asyncore';
import type { Actor } from './actors';
import type { Random } from './random';

const MOST = 30;

interface Timer {
  readonly name: string;
  readonly actor: Actor | null;
  readonly repeats: boolean;
  handle: TimerHandle | null;
  /** It may be called, and not before this. */
  due: number;
  /** Cancelled, or the channel has closed. */
  over: boolean;
}

export class Clockwork {
  readonly #timers = new Set<Timer>();
  #serial = 0;
  calls = 0;

  /**
   * @param called what a timer does
   * @param broken told of what must not be
   */
  constructor(
    private readonly map: ChannelMap,
    private readonly random: Random,
    private readonly note: (text: string) => void,
    private readonly called: () => void,
    private readonly broken: (what: string) => void,
  ) {}

  /** @param actor whose timer it is to be; null: the map's */
  make(actor: Actor | null): void {
    if (this.#timers.size >= MOST) return;
    const { random } = this;
    const repeats = random.chance(0.2);
    const ms = random.pick([0, 0, 0.5, 1, 3, 10]) + (repeats ? 0.5 : 0);
    this.#serial += 1;
    const name = `timer ${this.#serial} of ${actor ?? 'the map'}`;
    const timer: Timer = {
      name,
      actor,
      repeats,
      handle: null,
      due: performance.now() + ms,
      over: false,
    };
    const owner = actor?.channel ?? this.map;
    const call = (): void => this.#call(timer);
    this.note(`${name} ${repeats ? 'every' : 'in'} ${ms} ms`);
    timer.handle = repeats ? owner.callEvery(ms, call) : owner.callLater(ms, call);
    this.#timers.add(timer);
  }

  #call(timer: Timer): void {
    const { name, handle } = timer;
    this.calls += 1;
    this.note(`${name} is called`);
    if (timer.over) this.broken(`${name} is called, and is over`);
    if (performance.now() < timer.due) this.broken(`${name} is called early`);
    if (handle?.active !== timer.repeats)
      this.broken(`${name} is called, active: ${handle?.active}`);
    if (timer.repeats) timer.due = handle?.due ?? 0;
    else timer.due = Infinity;
    this.called();
  }

  /** Cancels one, or has it start again. */
  disturb(): void {
    if (this.#timers.size === 0) return;
    const timer = this.random.pick([...this.#timers]);
    const handle = timer.handle as TimerHandle;
    if (this.random.chance(0.5)) {
      this.note(`${timer.name} is cancelled`);
      timer.over = true;
      handle.cancel();
      if (handle.active) this.broken(`${timer.name} is cancelled, and active`);
      this.#timers.delete(timer);
      return;
    }
    const ms = this.random.pick([0.5, 1, 5]);
    const due = performance.now() + ms;
    const begun = handle.reset(ms);
    this.note(`${timer.name} is reset to ${ms} ms: ${begun}`);
    if (begun === timer.over) this.broken(`${timer.name} is reset, over: ${timer.over}`);
    if (begun) timer.due = due;
  }

  /** An actor's channel has closed, or has been closed once more. */
  hasClosed(actor: Actor): void {
    for (const timer of this.#timers) if (timer.actor === actor) timer.over = true;
  }

  /** What is active stands in the map; what is over is not active. */
  check(): void {
    for (const timer of this.#timers) {
      const { active, due } = timer.handle as TimerHandle;
      if (timer.over && active) this.broken(`${timer.name} is over, and active`);
      if (active && this.map.nextDue > due) this.broken(`${timer.name} is not waited for`);
      if (!active && (timer.over || this.random.chance(0.3))) this.#timers.delete(timer);
    }
  }

  end(): void {
    for (const { handle } of this.#timers) handle?.cancel();
    this.#timers.clear();
  }
}
