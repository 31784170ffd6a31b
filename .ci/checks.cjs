// What a host may lack, asked of the installed package: both loops, timers beside them, look-ups, addresses,
// many descriptors, workers. Run by .ci/smoke in each runtime and on each processor.
const { strict: assert } = require('node:assert');
const {
  closeSync,
  openSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} = require('node:fs');
const { createServer } = require('node:net');
const { once } = require('node:events');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');
const asyncore = require('asyncore');
const echo = require('./echo-body.cjs');

const { AsyncChat, ChannelMap, Dispatcher, FileDispatcher, Socket, loop, loopSync } = asyncore;
const { AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM } = asyncore;

const limit = () => AbortSignal.timeout(20_000);
const runBoth = async (check) => {
  await check((map) => loop({ map, signal: limit() }));
  await check(async (map) => loopSync({ map, timeout: 50, signal: limit() }));
};

class Quiet extends Dispatcher {
  writable() {
    return false;
  }
  handleClose() {
    this.close();
  }
}

/** Receives `wanted` bytes, and closes. */
class Receiver extends Quiet {
  text = '';
  wanted = 5;
  handleRead() {
    this.text += this.recv(100) ?? '';
    if (this.text.length >= this.wanted) this.close();
  }
}

const checks = {
  'timers, promises and node:net go on beside loop()': async () => {
    const map = new ChannelMap();
    const [a, b] = Socket.pair();
    const receiver = new Receiver(a, map);
    const server = createServer((socket) => socket.end('node')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    class Client extends Receiver {
      wanted = 4;
    }
    const client = new Client(null, map);
    client.createSocket();
    client.connect({ host: '127.0.0.1', port: server.address().port });
    setTimeout(() => b.send(Buffer.from('timer')), 5);
    await loop({ map, signal: limit() });
    server.close();
    b.close();
    assert.deepEqual([receiver.text, client.text], ['timer', 'node']);
  },

  'an AbortSignal ends loop()': async () => {
    const map = new ChannelMap();
    const [a, b] = Socket.pair();
    new Quiet(a, map);
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('enough')), 5);
    await assert.rejects(loop({ map, signal: stop.signal }), { message: 'enough' });
    asyncore.closeAll(map);
    b.close();
  },

  'an error of a handler goes to handleError, with its stack': () =>
    runBoth(async (run) => {
      const map = new ChannelMap();
      const [a, b] = Socket.pair();
      let frames = 0;
      class Faulty extends Quiet {
        handleRead() {
          throw new RangeError('mine');
        }
        handleError(error) {
          assert.equal(error.message, 'mine');
          frames = asyncore.compactTraceback(error)[3].split('] [').length;
          this.close();
        }
      }
      new Faulty(a, map);
      b.send(Buffer.from('x'));
      await run(map);
      b.close();
      assert.ok(frames > 1);
    }),

  'a host name is looked up': () =>
    runBoth(async (run) => {
      const map = new ChannelMap();
      class Server extends Quiet {
        handleAccepted(socket) {
          socket.send(Buffer.from('hello'));
          socket.close();
          this.close();
        }
      }
      const server = new Server(null, map);
      server.createSocket();
      server.bind({ host: '127.0.0.1', port: 0 });
      server.listen();
      const client = new Receiver(null, map);
      client.createSocket();
      client.connect({ host: 'localhost', port: server.socket.getSockName().port });
      await run(map);
      assert.equal(client.text, 'hello');
    }),

  'addresses of each family go to the kernel and come back': () => {
    const path = join(tmpdir(), `asyncore-check-${process.pid}.sock`);
    for (const [family, address] of [
      [AF_INET, { host: '127.0.0.1', port: 0 }],
      [AF_INET6, { host: '::1', port: 0 }],
      [AF_UNIX, { path }],
    ]) {
      const receiver = Socket.socket(family, SOCK_DGRAM);
      receiver.bind(address);
      const name = receiver.getSockName();
      const sender = Socket.socket(family, SOCK_DGRAM);
      sender.sendTo(Buffer.from('datagram'), name);
      assert.equal(String(receiver.recvFrom(100).data), 'datagram');
      assert.equal(name.host ?? name.path, address.host ?? address.path);
      sender.close();
      receiver.close();
    }
    rmSync(path);
  },

  'three hundred descriptors are told apart': () =>
    runBoth(async (run) => {
      const map = new ChannelMap();
      const received = [];
      class Numbered extends Quiet {
        handleRead() {
          received.push(`${this.number}=${this.recv(10)}`);
          this.close();
        }
      }
      const peers = [];
      const expected = [];
      for (let number = 0; number < 150; number += 1) {
        const [a, b] = Socket.pair();
        new Numbered(a, map).number = number;
        peers.push(b);
        expected.push(`${number}=${number}`);
      }
      // In reverse: the events come in the order of the map all the same.
      for (let number = 149; number >= 0; number -= 1) peers[number].send(Buffer.from(`${number}`));
      await run(map);
      for (const peer of peers) peer.close();
      assert.deepEqual(received, expected);
    }),

  'a handler closes other channels, and opens new ones': () =>
    runBoth(async (run) => {
      const map = new ChannelMap();
      const [a, b] = Socket.pair();
      const [c, d] = Socket.pair();
      const events = [];
      const second = new (class extends Quiet {
        handleRead() {
          events.push('second');
        }
      })(null, map);
      class First extends Quiet {
        handleRead() {
          events.push('first');
          second.close();
          this.close();
          const [e, f] = Socket.pair();
          f.send(Buffer.from('third'));
          events.push(new Receiver(e, map));
          f.close();
        }
      }
      new First(a, map);
      second.setSocket(c);
      b.send(Buffer.from('x'));
      d.send(Buffer.from('x'));
      await run(map);
      b.close();
      d.close();
      assert.deepEqual([events.length, events[0], events[1].text], [2, 'first', 'third']);
    }),

  'files: a producer sends one, a channel reads one': () =>
    runBoth(async (run) => {
      const path = join(tmpdir(), `asyncore-check-${process.pid}.txt`);
      writeFileSync(path, 'a file');
      const map = new ChannelMap();
      const [a, b] = Socket.pair();
      class Sender extends AsyncChat {
        collectIncomingData() {}
        foundTerminator() {}
        readable() {
          return false;
        }
      }
      const sender = new Sender(a, map);
      const receiver = new Receiver(b, map);
      receiver.wanted = 6;
      sender.pushWithProducer(new asyncore.FileProducer(openSync(path, 'r')));
      sender.closeWhenDone();
      let read = '';
      class Reader extends FileDispatcher {
        writable() {
          return false;
        }
        handleRead() {
          read += this.recv(100) ?? '';
        }
        handleClose() {
          this.close();
        }
      }
      const file = openSync(path, 'r');
      new Reader(file, map);
      await run(map);
      closeSync(file);
      rmSync(path);
      assert.deepEqual([receiver.text, read], ['a file', 'a file']);
    }),

  'a worker runs a loop, and what it leaves open is closed when it ends': async () => {
    const worker = new Worker(__filename);
    const [[left], [code]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
    assert.equal(code, 0);
    assert.match(left, /^socket:/);
    assert.ok(!openFiles().includes(left));
  },
};

/** What the process has open: `socket:[4711]`. */
function openFiles() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)];
    } catch {
      return []; // The descriptor that read the directory is gone by now.
    }
  });
}

async function main() {
  await echo(asyncore, 'require');
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
    } catch (error) {
      throw new Error(`${name}: ${error.stack}`, { cause: error });
    }
  }
  const { bun, deno, node } = process.versions;
  const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
  console.log(`${Object.keys(checks).length} checks passed: ${runtime} on ${process.arch}`);
}

async function beWorker() {
  await echo(asyncore, 'worker');
  globalThis.left = Socket.pair();
  parentPort.postMessage(readlinkSync(`/proc/self/fd/${globalThis.left[0].fileno()}`));
}

(isMainThread ? main : beWorker)().catch((error) => {
  console.error(error);
  process.exit(1);
});
