/// <reference types="node" preserve="true" />
// The public names, bottom up.

export type { Address, InternetAddress, UnixAddress } from './address';
export type { ListenLimits } from './admission';
export { AsyncChat, findPrefixAtEnd, type Terminator } from './async-chat';
export { type Channel, ChannelMap, socketMap } from './channel-map';
export * from './constants';
export { Dispatcher, type Handled } from './dispatcher';
export { DispatcherWithSend } from './dispatcher-with-send';
export {
  compactTraceback,
  DISCONNECTED,
  ExitNow,
  errorCode,
  type Frame,
  SocketError,
} from './errors';
export { Fifo } from './fifo';
export { FileDispatcher, FileWrapper, type HasDescriptor } from './file-dispatcher';
export { exception, read, readwrite, write } from './guards';
export { strerror } from './libc';
export { closeAll, type LoopOptions, loop, loopSync, poll, poll2, poll3 } from './loop';
export type { FifoItem } from './output-queue';
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
} from './producers';
export { type ShutdownOptions, shutdown } from './shutdown';
export { Socket, type SocketLike } from './socket';
