// A short session under valgrind's memcheck, which looks at every byte that the kernel is given, or
// gives. It takes half a minute, and no JIT: npx tsx spec/faults/memcheck.ts

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { withBuild } from '../support/build';

const SESSION = `
  const { AF_INET, AsyncChat, Dispatcher, IPPROTO_IP, IP_PKTINFO, SOCK_DGRAM } = require('./index.js');
  const { Socket, loopSync, poll2, recvFds, sendFds } = require('./index.js');
  class Echo extends AsyncChat {
    constructor(socket) { super(socket); this.setTerminator('\\n'); this.setIdleTimeout(60_000); }
    collectIncomingData(data) { this._collectIncomingData(data); }
    foundTerminator() {
      this.push(this._getData());
      this.push('\\n');
    }
  }
  class Server extends Dispatcher {
    handleAccepted(socket) { new Echo(socket); }
  }
  const server = new Server();
  server.createSocket(AF_INET);
  server.bind({ host: '127.0.0.1', port: 0 });
  server.listen(5, { maxConnections: 10 });
  const caller = Socket.socket();
  caller.connect(server.socket.getSockName());
  let heard = 0;
  for (const size of [1, 100, 5000, 40_000]) {
    const line = Buffer.alloc(size, 'x');
    line[size - 1] = 10;
    for (let sent = 0, goal = heard + size; heard < goal; ) {
      poll2(1);
      if (sent < size) sent += caller.send(line.subarray(sent)) ?? 0;
      heard += caller.recv(20_000)?.length ?? 0;
    }
    if (size === 100) caller.getPeerName();
  }
  const datagram = Socket.socket(AF_INET, SOCK_DGRAM);
  datagram.bind({ host: 'localhost', port: 0 });
  datagram.sendTo(Buffer.alloc(100), datagram.getSockName());
  heard += datagram.recvFrom(50).data.length;
  datagram.setSockOpt(IPPROTO_IP, IP_PKTINFO, true);
  datagram.sendMsg([Buffer.alloc(10)], [], 0, datagram.getSockName());
  const { address, control, data } = datagram.recvMsg(50, 100);
  datagram.sendMsg([data, Buffer.alloc(20)], control, 0, address);
  heard += datagram.recvMsg(50, 20).data.length;
  const [from, to] = Socket.pair();
  sendFds(from, [Buffer.alloc(5)], [0, 1, 2]);
  heard += recvFds(to, 9, 3).data.length;
  for (const socket of [from, to]) socket.close();
  datagram.close();
  caller.close();
  server.close();
  loopSync({ timeout: 100 });
  console.log('heard ' + heard);
`;

void withBuild({ 'session.js': SESSION }, (directory) => {
  const flags = ['--smc-check=all-non-file', '--error-limit=no', process.execPath, '--jitless'];
  const options = { encoding: 'utf8', timeout: 300_000 } as const;
  const { stdout, stderr } = spawnSync(
    'valgrind',
    [...flags, join(directory, 'session.js')],
    options,
  );
  const errors = /ERROR SUMMARY: (\d+) errors/.exec(stderr)?.[1];
  console.log(`${stdout.trim()} bytes; ${errors ?? stderr} errors`);
  process.exitCode = stdout === 'heard 45186\n' && errors === '0' ? 0 : 1;
});
