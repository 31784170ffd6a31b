// Counts what goes forward: bytes that were moved, descriptors that were opened or closed, changes of a
// channel's state. The loop compares the count before an event and after it (loop/spin.ts).

/** Wraps around. Only a change means something. */
export const progress = { count: 0 };

/** Notes that something has gone forward. The hot path does the same inline. */
export function noteProgress(): void {
  progress.count = (progress.count + 1) | 0;
}
