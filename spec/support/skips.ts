// Tests that not every machine can run. A skipped one says at its name why, and the end of `npm test`
// lists the reasons (spec/support/reporter.cjs).

/** `it`, or a skip with a reason: `no curl`. */
export function onlyIf(condition: boolean, reason: string): jest.It {
  return condition ? it : (skipping(it.skip, reason) as jest.It);
}

/** `describe`, or a skip with a reason. */
export function describeIf(condition: boolean, reason: string): jest.Describe {
  return condition ? describe : (skipping(describe.skip, reason) as jest.Describe);
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
