// Tests that not every machine can run. A skipped test says at its name why, and the end of `npm test`
// lists the reasons (reporter.cjs).

import { has } from './clients';

/** `it`, or a skip with a reason: `no curl`. */
export function itIf(condition: boolean, reason: string): jest.It {
  return condition ? it : (skipping(it.skip, reason) as jest.It);
}

/** `describe`, or a skip with a reason. */
export function describeIf(condition: boolean, reason: string): jest.Describe {
  return condition ? describe : (skipping(describe.skip, reason) as jest.Describe);
}

/** `it` for a test that runs other programs. */
export function itWith(...commands: string[]): jest.It {
  const missing = commands.find((command) => !has(command));
  return itIf(missing === undefined, `no ${missing}`);
}

/** `describe` for tests that run other programs. */
export function describeWith(...commands: string[]): jest.Describe {
  const missing = commands.find((command) => !has(command));
  return describeIf(missing === undefined, `no ${missing}`);
}

type Register = (title: string, ...rest: unknown[]) => void;

function skipping(skip: jest.It | jest.Describe, reason: string): unknown {
  const registering =
    (register: Register): Register =>
    (title, ...rest) =>
      register(`${title} (skipped: ${reason})`, ...rest);
  const each = skip.each as (...table: unknown[]) => Register;
  return Object.assign(registering(skip as unknown as Register), {
    each: (...table: unknown[]) => registering(each(...table)),
  });
}
