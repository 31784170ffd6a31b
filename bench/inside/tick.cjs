// One tick after another, beside idle channels.
//
//   node tick.cjs WAY PREDICATES IDLE SECONDS
//   WAY         poll, poll2, loop or loopSync
//   PREDICATES  stock: the library's own; overridden: readable() is the program's
//
// Two chats pass one byte to and fro, so each tick has exactly one byte to read and to write. An idle
// channel is connected, and costs one descriptor: its other end waits in the backlog of a listener.

const { AF_UNIX, AsyncChat, ChannelMap, Socket, loop, loopSync, poll, poll2 } = require('asyncore');
const { measure, report } = require('./measure.cjs');

const [way, predicates, idle, seconds] = process.argv.slice(2);
const BYTE = 42;
/** Fits in what any kernel allows (net.core.somaxconn). */
const BACKLOG = 100;

class StockChat extends AsyncChat {
  passed = 0;

  handleRead() {
    const data = this.recv(1);
    if (data?.[0] !== BYTE || this.send(data) !== 1) throw new Error('the byte is lost');
    this.passed += 1;
  }

  handleError(error) {
    console.error(error);
    process.exit(1);
  }
}

class OverriddenChat extends StockChat {
  readable() {
    return true;
  }
}

const Chat = predicates === 'stock' ? StockChat : OverriddenChat;
const map = new ChannelMap();
const listeners = [];

function addIdle(count) {
  const listener = Socket.socket(AF_UNIX);
  listener.bind({ path: '' });
  listener.listen(BACKLOG);
  listeners.push(listener);
  for (let left = count; left > 0; left -= 1) {
    const socket = Socket.socket(AF_UNIX);
    if (socket.connectEx(listener.getSockName()) !== 0) throw new Error('the backlog is full');
    new Chat(socket, map);
  }
}

const ticks = {
  poll(count) {
    for (let left = count; left > 0; left -= 1) poll(1000, map);
  },
  poll2(count) {
    for (let left = count; left > 0; left -= 1) poll2(1000, map);
  },
  loopSync(count) {
    loopSync({ map, count });
  },
  loop(count) {
    return loop({ map, count });
  },
}[way];

async function main() {
  for (let left = Number(idle); left > 0; left -= BACKLOG) addIdle(Math.min(left, BACKLOG));
  const pair = Socket.pair();
  const [a, b] = pair.map((socket) => new Chat(socket, map));
  pair[0].send(Buffer.of(BYTE));

  const { count, cpu, elapsed } = await measure(async (count) => {
    const before = a.passed + b.passed;
    await ticks(count);
    const passed = a.passed + b.passed - before;
    if (passed !== count) throw new Error(`${passed} bytes in ${count} ticks`);
  }, seconds);
  report({ 'ticks/s': (count * 1e6) / elapsed, 'CPU µs/tick': cpu / count });
}

void main();
