export { Memory } from './syscalls';
