// Steps the system's clock, as a program sees it, by a year each way while idle timeouts are due.

import { loop, loopSync, Socket } from 'asyncore';
import { QuietChat } from '../support/quiet-chat';

let told = 0;

class Idler extends QuietChat {
  override handleTimeout(): void {
    told += 1;
    this.close();
  }
}

const peers: Socket[] = [];

function makeThree(): void {
  told = 0;
  for (let index = 0; index < 3; index += 1) {
    const [ours, theirs] = Socket.pair();
    peers.push(theirs);
    new Idler(ours).setIdleTimeout(150);
  }
}

const YEAR = 365 * 24 * 3600 * 1000;
const wallClock = Date.now;
let step = YEAR;
Date.now = () => wallClock() + step;

async function main(): Promise<void> {
  makeThree();
  setTimeout(() => {
    console.log(`${told} early`);
    step = -YEAR;
  }, 20);
  await loop();
  console.log(`${told} in time`);

  makeThree();
  step = YEAR;
  loopSync();
  console.log(`loopSync: ${told} in time`);
  for (const peer of peers) peer.close();
}

void main();
