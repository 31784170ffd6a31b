// A channel that is ready at every tick, and whose handlers do nothing about it, uses a whole CPU in silence. This
// is faithful to Python, so it goes on; one process warning for each class says what to do.
//
// An event is fruitless when nothing has gone forward in it: no byte was moved, nothing was opened, closed or
// accepted, no state has changed. Thousands in a row are suspicious. Then poll(2) is asked after each event
// whether the channel is as ready as it was: what another library has read or written, past this one, is no
// spin.

import { warn } from '../kernel/output';
import { POLLIN, POLLOUT, POLLPRI } from '../kernel/platform/constants';
import { isReady } from '../kernel/selectors/poll';
import { explainSpin } from './channel';
import {
  type Entry,
  EXCEPTION,
  INVALID,
  type PollBits,
  READ,
  type SelectSets,
  WRITE,
} from './entry';

/** So many fruitless events in a row of an entry are suspicious. */
export const SUSPICIOUS = 4000;
const CERTAIN = SUSPICIOUS + 16;
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
  const { channel, failed } = entry;
  entry.failed = false;
  if (!entry.live || !(entry.invalid || isReady(entry.fd, entry.mask))) entry.fruitless = 0;
  else if (entry.fruitless >= CERTAIN) {
    entry.fruitless = EXEMPT;
    const type = channel.constructor;
    if (warned.has(type)) return;
    const reason = channel[explainSpin]?.(event, failed);
    if (reason === undefined) return;
    warned.add(type);
    const events = `${CERTAIN} ${NAMES.get(event) ?? 'close'} events in a row have changed nothing`;
    const text = `${type.name || 'A channel'} uses a whole CPU: ${events}. ${reason}`;
    warn('ChannelWarning', 'ASYNCORE_SPIN', text);
  }
}
