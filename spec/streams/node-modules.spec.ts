// Node's own modules over streams of channels: http, https, tls, readline, pipeline. Real clients.

import { once } from 'node:events';
import {
  Agent,
  createServer,
  get,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createSecureServer, get as getSecure } from 'node:https';
import { createInterface } from 'node:readline';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { connect, TLSSocket } from 'node:tls';
import { type ChannelDuplex, type Socket, toDuplex } from 'asyncore';
import { CERTIFICATE, KEY } from '../support/certificate';
import { newMap } from '../support/keep';
import { Listener } from '../support/limits';
import { Client, until } from '../support/program';
import { call, connection } from '../support/sockets';
import { LOOPS, run, streamWithPeer } from '../support/streams';

const LARGE = Buffer.alloc(5_000_000, 'large');

async function textOf(message: Readable): Promise<string> {
  let text = '';
  for await (const data of message) text += data;
  return text;
}

describe.each(LOOPS)('Node’s http server over streams (%s)', (_, how) => {
  let server: Server;
  let port: number;
  let streams: ChannelDuplex[];
  const seen: string[] = [];

  /** Serves what a listener of ours accepts. */
  function serve(target: Server): number {
    const map = newMap();
    class HttpListener extends Listener {
      override handleAccepted(socket: Socket): void {
        const duplex = toDuplex(socket, { map });
        duplex.on('error', () => {});
        streams.push(duplex);
        target.emit('connection', duplex);
      }
    }
    const listener = new HttpListener(map);
    run(map, how);
    return (listener.name as { port: number }).port;
  }

  function answer(message: IncomingMessage, response: ServerResponse): void {
    seen.push(`${message.method} ${message.url}`);
    if (message.url === '/large') response.end(LARGE);
    else if (message.url === '/hang') {
      response.on('close', () => seen.push('aborted'));
    } else {
      let length = 0;
      message.on('data', (data) => {
        length += data.length;
      });
      message.on('end', () => response.end(`${message.url} had ${length} bytes`));
    }
  }

  beforeEach(() => {
    streams = [];
    seen.length = 0;
    server = createServer(answer);
    port = serve(server);
  });

  afterEach(async () => {
    server.closeAllConnections();
    await until(() => streams.every((duplex) => duplex.closed));
  });

  it('keeps a connection alive', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (const path of ['/1', '/2', '/3']) {
      const [response] = await once(get({ port, path, agent }), 'response');
      expect(await textOf(response)).toBe(`${path} had 0 bytes`);
    }
    expect(streams.length).toBe(1);
    agent.destroy();
  });

  it('closes a connection that has been idle', async () => {
    server.keepAliveTimeout = 50;
    const client = new Client(port).send('GET /1 HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.hears('/1 had 0 bytes');
    await client.ends();
    await until(() => streams[0]?.closed === true);
  });

  it('answers pipelined requests in order', async () => {
    const client = new Client(port);
    const paths = Array.from({ length: 50 }, (_, index) => `/${index}`);
    client.send(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
    await client.hears('/49 had 0 bytes');
    const answers = [...client.received.matchAll(/(\/\d+) had 0 bytes/g)];
    expect(answers.map(([, path]) => path)).toEqual(paths);
    client.socket.destroy();
  });

  it('takes large bodies and sends them', async () => {
    const address = `http://127.0.0.1:${port}`;
    const posted = await fetch(`${address}/post`, { method: 'POST', body: LARGE });
    expect(await posted.text()).toBe(`/post had ${LARGE.length} bytes`);
    const large = await fetch(`${address}/large`);
    expect(Buffer.from(await large.arrayBuffer()).equals(LARGE)).toBe(true);
  });

  it('hears of a client that goes away', async () => {
    const client = request({ port, path: '/hang' });
    client.on('error', () => {});
    client.end();
    await until(() => seen.length === 1);
    client.destroy();
    await until(() => seen.length === 2);
    expect(seen).toEqual(['GET /hang', 'aborted']);
  });

  it('answers 400 to what is no request', async () => {
    const client = new Client(port).send('nonsense\r\n\r\n');
    expect(await client.ends()).toMatch(/^HTTP\/1\.1 400 Bad Request/);
  });

  it('hands the stream over at an upgrade', async () => {
    server.on('upgrade', (message, socket, head) => {
      expect(socket).toBe(streams[0]);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\n\r\n${message.url}:${head}`,
      );
      socket.pipe(socket);
    });
    const client = new Client(port);
    client.send('GET /up HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\none');
    await client.hears('/up:one');
    client.send('two').socket.end();
    expect(await client.ends()).toMatch(/\r\n\r\n\/up:onetwo$/);
  });

  it('speaks TLS', async () => {
    const secure = createSecureServer({ cert: CERTIFICATE, key: KEY }, answer);
    const securePort = serve(secure as unknown as Server);
    const options = { port: securePort, host: 'localhost', ca: CERTIFICATE, agent: false as const };
    const [response] = await once(getSecure({ ...options, path: '/large' }), 'response');
    expect((await textOf(response)).length).toBe(LARGE.length);
    await until(() => streams.every((duplex) => duplex.closed));
  });

  it('is asked by Node’s http client over a stream', async () => {
    const map = newMap();
    const duplex = toDuplex(call({ host: '127.0.0.1', port }), { map });
    run(map, how);
    const asked = request({
      createConnection: () => duplex as never,
      path: '/client',
      method: 'POST',
    });
    asked.end(LARGE);
    const [response] = await once(asked, 'response');
    expect(await textOf(response)).toBe(`/client had ${LARGE.length} bytes`);
    await until(() => duplex.closed);
  });
});

describe.each(LOOPS)('Node’s modules over streams (%s)', (_, how) => {
  it('tls: both sides, there and back, and an orderly end', async () => {
    const map = newMap();
    const [caller, accepted] = connection();
    // TLS tells its peer of the end, and may have more to send then: as over any stream that is no net.Socket.
    const options = { map, allowHalfOpen: true };
    const server = new TLSSocket(toDuplex(accepted, options) as never, {
      isServer: true,
      cert: CERTIFICATE,
      key: KEY,
    });
    const client = connect({
      socket: toDuplex(caller, options),
      ca: CERTIFICATE,
      servername: 'localhost',
    });
    run(map, how);
    server.pipe(server);
    await once(client, 'secureConnect');
    expect(client.authorized).toBe(true);
    const heard = textOf(client);
    client.end(LARGE);
    expect((await heard) === LARGE.toString()).toBe(true);
    await until(() => map.size === 0);
  });

  it('tls: a peer that does not speak it fails the handshake', async () => {
    const { duplex, peer } = streamWithPeer(how);
    const client = connect({ socket: duplex, ca: CERTIFICATE, servername: 'localhost' });
    peer.send(Buffer.from('220 hello\r\n'));
    const [error] = await once(client, 'error');
    expect(error.code).toMatch(/^ERR_SSL_|^EPROTO/);
    await until(() => duplex.closed);
  });

  it('readline: every line, wherever the pieces end', async () => {
    const { duplex, peer } = streamWithPeer(how);
    const lines: string[] = [];
    const input = createInterface({ input: duplex, output: duplex, terminal: false });
    input.on('line', (line) => lines.push(line));
    for (const piece of ['a\r', '\nb\n', 'c', 'd\ne']) {
      peer.send(Buffer.from(piece));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    peer.close();
    await once(input, 'close');
    expect(lines).toEqual(['a', 'b', 'cd', 'e']);
  });

  it('pipeline: a slow reader holds the source back', async () => {
    const { duplex, peer } = streamWithPeer(how, { highWaterMark: 16384 });
    let made = 0;
    function* source(): Generator<Buffer> {
      for (; made < 4000; made += 1) yield Buffer.alloc(65536, made);
    }
    const done = pipeline(Readable.from(source()), duplex);
    let last = -1;
    for (let still = 0; still < 20; still = made === last ? still + 1 : 0) {
      last = made;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    // What the kernel holds is far less than the 260 MB that there are.
    expect(made).toBeLessThan(400);
    expect(duplex.writableLength).toBeLessThanOrEqual(2 * 65536);
    let heard = 0;
    await until(() => {
      for (let data = peer.recv(1 << 20); data !== null; data = peer.recv(1 << 20)) {
        if (data.length === 0) return true;
        heard += data.length;
      }
      return false;
    });
    expect(heard).toBe(4000 * 65536);
    peer.close();
    await done;
  });

  it('pipeline: a slow writer holds the peer back', async () => {
    const { duplex, peer } = streamWithPeer(how);
    let waiting = 0;
    let heard = 0;
    const sink = new Writable({
      write(data: Buffer, _encoding, callback) {
        heard += data.length;
        waiting = Math.max(waiting, duplex.readableLength + this.writableLength);
        setTimeout(callback, 1);
      },
    });
    const done = pipeline(duplex, sink);
    let left = 8_000_000;
    await until(() => {
      for (let size: number | null = 1; size !== null && left > 0; ) {
        size = peer.send(LARGE.subarray(0, left));
        left -= size ?? 0;
      }
      return left === 0;
    });
    peer.close();
    await done;
    expect(heard).toBe(8_000_000);
    expect(waiting).toBeLessThan(400_000);
  });
});
