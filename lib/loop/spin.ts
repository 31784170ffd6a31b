// A channel that is ready at every tick, and whose handlers do nothing about it, uses a whole CPU in
// silence. This is faithful to Python, so it goes on; one process warning for each class says what to do.
//
// An event is fruitless when nothing has gone forward in it: no byte was moved, nothing was opened, closed
// or accepted, no state has changed. Thousands in a row are suspicious, and the channel is on probation. It
// spins if all of this holds in the events that follow:
//
// - poll(2) finds it as ready after each event as before: nobody else has read its input
// - nothing goes forward between the events either, in the flush of the tick, an async handler or a timer
// - they come fast, or the CPU is busy: a program that calls poll() for each of its frames has time between them
// - the channel knows no reason (channels/spin.ts). One is that the process calls read(2) or write(2) in most
//   events: another library may be at work

import { warn } from '../kernel/output';
import { POLLIN, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import { isReady } from '../kernel/selectors/poll';
import { type Channel, explainSpin, type SpinSigns } from './channel';
import {
  type Entry,
  EXCEPTION,
  INVALID,
  type PollBits,
  READ,
  type SelectSets,
  WRITE,
} from './entry';
import { PROBATION, Probation } from './probation';

/** So many fruitless events in a row of an entry are suspicious. */
export const SUSPICIOUS = 3500;
const CERTAIN = SUSPICIOUS + PROBATION;
/** Has an entry that needs no warning count for hours until it is looked at again. */
const EXEMPT = -(2 ** 30);

const NAMES = new Map<SelectSets, string>([
  [READ, 'read'],
  [WRITE, 'write'],
  [EXCEPTION, 'exception'],
]);

const warned = new WeakSet<object>();

/** What a delivery in poll order was mainly about. */
export function mainEvent(due: PollBits): SelectSets {
  if ((due & POLLIN) !== 0) return READ;
  if ((due & POLLOUT) !== 0) return WRITE;
  return (due & POLLPRI) !== 0 ? EXCEPTION : INVALID;
}

/** Called after each event of an entry beyond the suspicious number. Warns when the channel spins. */
export function suspect(entry: Entry, event: SelectSets): void {
  const threw = entry.failed;
  entry.failed = false;
  if (entry.fruitless === SUSPICIOUS + 1) entry.probation = new Probation();
  const probation = entry.probation as Probation;
  if (!entry.live || !probation.isQuiet || !isStillReady(entry)) entry.fruitless = 0;
  else if (entry.fruitless >= CERTAIN) {
    const { wasBusy } = probation;
    entry.fruitless = wasBusy ? EXEMPT : 0;
    if (wasBusy) tell(entry.channel, event, { threw, transfers: probation.hadTransfers });
  }
}

function isStillReady({ invalid, fd, mask }: Entry): boolean {
  return invalid || isReady(fd, mask);
}

function tell(channel: Channel, event: SelectSets, signs: SpinSigns): void {
  const type = channel.constructor;
  if (warned.has(type)) return;
  const reason = channel[explainSpin]?.(event, signs);
  if (reason === undefined) return;
  warned.add(type);
  const events = `${CERTAIN} ${NAMES.get(event) ?? 'close'} events in a row have changed nothing`;
  const text = `${type.name || 'A channel'} uses a whole CPU: ${events}. ${reason}`;
  warn('ChannelWarning', 'ASYNCORE_SPIN', text);
}
