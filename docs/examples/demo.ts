// Three servers in one channel map, under one loop: HTTP and a chat room, both of chats, and an echo
// server of plain dispatchers. `npm start` runs it; `npm start -- --help` lists the options.

import { isIPv6 } from 'node:net';
import type { Dispatcher } from 'asyncore';
import { ChatServer } from './chat-room';
import { echoServer } from './echo-server';
import { httpServer } from './http-request-handler';
import { type Closed, listenOptions, run } from './support/program';

function portOf(server: Dispatcher): number {
  const address = server.address();
  return address !== null && 'port' in address ? address.port : 0;
}

function start({ host, port }: { host: string; port: number }): void {
  const at = (offset: number) => ({ host, port: port === 0 ? 0 : port + offset });

  const http = httpServer(at(0));
  const echo = echoServer(at(1));
  const chat = new ChatServer(at(2));

  process.stdout.write(`Three servers in one loop. Try:
  curl -d 'a=1' http://${isIPv6(host) ? `[${host}]` : host}:${portOf(http)}/
  nc ${host} ${portOf(echo)}        what you type comes back
  nc ${host} ${portOf(chat)}        a chat room, better with two of them
Ctrl-C stops it, and a second one stops it at once.
`);
}

const counted = (count: number, what: string): string =>
  `${count} ${what}${count === 1 ? '' : 's'}`;

function stopped({ listeners, connections, cut }: Closed): void {
  const cutOff = cut === 0 ? '' : `; ${cut} cut off`;
  process.stdout.write(
    `Closed ${counted(listeners, 'listener')} and ${counted(connections, 'connection')}${cutOff}.\n`,
  );
}

const options = listenOptions(8080);

run({
  name: 'demo',
  command: 'npm start --',
  about: 'Three servers in one loop: HTTP, an echo server and a chat room.',
  options: {
    ...options,
    port: {
      ...options.port,
      most: 65533,
      help: 'HTTP listens on N, echo on N+1, chat on N+2; 0 lets the system choose',
    },
  },
  start: (values) => {
    start(values);
    return null;
  },
  stopped,
});
