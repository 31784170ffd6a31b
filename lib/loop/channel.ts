export type { Channel } from './channel-map';
