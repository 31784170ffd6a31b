/// <reference types="node" preserve="true" />
// Producers: where a chat's output comes from. They know no chat.
//
// A producer is anything with a method `more`. A chat calls it when it has room for output, and not
// before, so the output need not be in memory. It calls again until the producer is exhausted.
//
// Most of these wrap another producer, and are Medusa's: a gzipped file in chunks is
// `new ChunkedProducer(new CompressedProducer(new FileProducer(fd)))`. Once exhausted, a producer stays so.
// Each takes data where it takes a producer. `more` is a plain call: while a producer makes its next piece,
// all channels wait. A producer that has to wait for its piece returns a promise of it, and each wrapper
// passes that on.

export { CompressedProducer } from './compression';
export { CompositeProducer, SimpleProducer } from './data';
export { FileProducer } from './file';
export type { Piece, Producer, Source } from './producer';
export { StreamProducer, type StreamSource } from './stream';
export { ChunkedProducer, GlobbingProducer, HookedProducer } from './wrappers';
