/// <reference types="node" preserve="true" />
// The public names, bottom up.

export type { Accepted, ListenLimits } from './channels/accept';
export {
  type AsyncConnectionOptions,
  type ConnectionOptions,
  createConnection,
  createConnectionSync,
} from './channels/create-connection';
export { Dispatcher } from './channels/dispatcher';
export { DispatcherWithSend } from './channels/dispatcher-with-send';
export type { CloseReason } from './channels/ending';
export { FileDispatcher, FileWrapper } from './channels/file-dispatcher';
export type { Handled, Handlers, TimeLimit } from './channels/handlers';
export type { IdleTimeoutOptions } from './channels/idle-timeout';
export { type AcceptHandler, type ListenOptions, listen } from './channels/listen';
export { AsyncChat } from './chat/async-chat';
export { Fifo } from './chat/fifo';
export type { FifoItem } from './chat/output-buffer';
export {
  ChunkedProducer,
  CompositeProducer,
  CompressedProducer,
  FileProducer,
  GlobbingProducer,
  HookedProducer,
  type Piece,
  type Producer,
  SimpleProducer,
  type Source,
  StreamProducer,
  type StreamSource,
} from './chat/producers';
export { findPrefixAtEnd } from './chat/record-reader';
export type { Terminator } from './chat/terminator';
export {
  compactTraceback,
  DISCONNECTED,
  ExitNow,
  type Frame,
  SocketError,
} from './errors';
export type { Address, InternetAddress, UnixAddress } from './kernel/address';
export { addressKey } from './kernel/address-key';
export { type CreateServerOptions, createServer } from './kernel/create-server';
export { errorCode } from './kernel/errno';
export type { HasDescriptor } from './kernel/has-descriptor';
export { CMSG_LEN, CMSG_SPACE, type ControlMessage, type Message } from './kernel/messages';
export {
  type AddrInfo,
  type AddrInfoOptions,
  getAddrInfo,
  getFqdn,
  getHostByAddr,
  getHostByName,
  type HostNames,
} from './kernel/names';
export { pipe } from './kernel/pipe';
export * from './kernel/platform/constants';
export { Poller } from './kernel/poller';
export { type ReceivedDescriptors, recvFds, sendFds } from './kernel/rights';
export { select } from './kernel/select';
export { Socket, type SocketLike } from './kernel/socket';
export { strerror } from './kernel/syscalls';
export { advanceTime } from './loop/advance-time';
export { callAt, callEvery, callLater } from './loop/call-later';
export type { Channel } from './loop/channel';
export { ChannelMap, type ChannelMapOptions, socketMap } from './loop/channel-map';
export { type Clock, ManualClock } from './loop/clock';
export { exception, read, readwrite, write } from './loop/dispatch';
export { closeAll, type LoopOptions, loopSync, poll, poll2, poll3 } from './loop/loop';
export { loop } from './loop/node-loop';
export { type ShutdownOptions, shutdown } from './loop/shutdown';
export type { TimerFunction, TimerHandle, TimerOptions } from './loop/timer-handle';
export { type ChannelDuplex, type DuplexOptions, toDuplex } from './streams/duplex';
export { type Records, type RecordsOptions, records } from './streams/records';
