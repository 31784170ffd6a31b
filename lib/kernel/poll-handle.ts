// A descriptor that Node's own loop watches.

export { Watch as PollHandle } from './syscalls';
