import { AsyncChat } from 'asyncore';

/** A chat that looks at none of its input. */
export class QuietChat extends AsyncChat {
  override collectIncomingData(): void {}
  override foundTerminator(): void {}
}
