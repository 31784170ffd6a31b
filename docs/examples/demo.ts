// Three servers in one channel map, under one loop: HTTP and a chat room, both of chats, and an echo
// server of plain dispatchers. `npm start` runs it; `npm start -- --help` lists the options.

import { isIPv6 } from 'node:net';
import { parseArgs } from 'node:util';
import { ChannelMap, closeAll, type Dispatcher, loop } from 'asyncore';
import { ChatServer } from './chat-room';
import { echoServer } from './echo-server';
import { httpServer } from './http-request-handler';

const USAGE = `Usage: npm start -- [--host ADDRESS] [--port N]
  --host ADDRESS   an IPv4 or IPv6 address of this machine (default 127.0.0.1)
  --port N         HTTP listens on N, echo on N+1, chat on N+2 (default 8080);
                   0 lets the system choose
`;

function fail(message: string): never {
  process.stderr.write(`${message}\n${USAGE}`);
  process.exit(2);
}

function options(): { host: string; port: number } {
  let values: { host: string; port: string; help: boolean };
  try {
    ({ values } = parseArgs({
      options: {
        host: { type: 'string', default: '127.0.0.1' },
        port: { type: 'string', default: '8080' },
        help: { type: 'boolean', default: false },
      },
    }));
  } catch (error) {
    fail((error as Error).message);
  }
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(0);
  }
  // An empty host would be every address of this machine.
  if (values.host === '') fail('--host takes ADDRESS: ');
  const port = Number(values.port);
  if (!/^\d+$/.test(values.port) || port > 65533) fail(`--port takes 0 to 65533: ${values.port}`);
  return { host: values.host, port };
}

function portOf(server: Dispatcher): number {
  const address = server.address();
  return address !== null && 'port' in address ? address.port : 0;
}

async function main(): Promise<void> {
  const { host, port } = options();
  const map = new ChannelMap();
  const at = (offset: number) => ({ host, port: port === 0 ? 0 : port + offset });

  const http = httpServer(at(0), map);
  const echo = echoServer(at(1), map);
  const chat = new ChatServer(at(2), map);

  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  process.once('SIGTERM', () => stop.abort());

  const inUrl = isIPv6(host) ? `[${host}]` : host;
  process.stdout.write(`Three servers in one loop. Try:
  curl -d 'a=1' http://${inUrl}:${portOf(http)}/
  nc ${host} ${portOf(echo)}        what you type comes back
  nc ${host} ${portOf(chat)}        a chat room, better with two of them
Ctrl-C stops it.
`);

  try {
    await loop({ map, signal: stop.signal });
  } catch (error) {
    if (error !== stop.signal.reason) throw error;
  }
  const open = map.size;
  closeAll(map);
  process.stdout.write(`Closed ${open} channels.\n`);
}

main().catch((error) => {
  process.stderr.write(`${error}\n`);
  process.exitCode = 1;
});
