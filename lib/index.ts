/// <reference types="node" preserve="true" />
// The public names, bottom up.

export type { Accepted, ListenLimits } from './channels/accept';
export { Dispatcher } from './channels/dispatcher';
export { DispatcherWithSend } from './channels/dispatcher-with-send';
export { FileDispatcher, FileWrapper, type HasDescriptor } from './channels/file-dispatcher';
export type { Handled, Handlers } from './channels/handlers';
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
  type Producer,
  SimpleProducer,
  type Source,
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
export { errorCode } from './kernel/errno';
export { CMSG_LEN, CMSG_SPACE, type ControlMessage, type Message } from './kernel/messages';
export * from './kernel/platform/constants';
export { type ReceivedDescriptors, recvFds, sendFds } from './kernel/rights';
export { Socket, type SocketLike } from './kernel/socket';
export { strerror } from './kernel/syscalls';
export type { Channel } from './loop/channel';
export { ChannelMap, socketMap } from './loop/channel-map';
export { exception, read, readwrite, write } from './loop/dispatch';
export { closeAll, type LoopOptions, loopSync, poll, poll2, poll3 } from './loop/loop';
export { loop } from './loop/node-loop';
export { type ShutdownOptions, shutdown } from './loop/shutdown';
export { type ChannelDuplex, type DuplexOptions, toDuplex } from './streams/duplex';
export { type Records, type RecordsOptions, records } from './streams/records';
