// How a test case of CPython's is called here, so that table.ts can find it.
//
// A case stands in a `describe` of its class, under its full name: `TestAsynchat.test_push`. Its
// repetitions, over loopSync for one, stand in `describe`s of their own, `TestAsynchat over
// loopSync`, under the short name. What cannot be run carries the reason in its title.

/** Cases that are in Python 2.7 only, by their module. Those of 3.11 are in cpython-tests.json. */
export const ONLY_IN_2_7: readonly string[] = [
  'test_asyncore.DispatcherTests.test_issue_8594',
  'test_asyncore.DispatcherWithSendTests_UsePoll.test_send',
  'test_asynchat.TestFifo.test_basic',
  'test_asynchat.TestFifo.test_given_list',
];

const NO_URGENT_DATA = 'urgent data over Unix sockets is an option of the kernel; CPython skips it';

/** Cases that are not run here, and why. */
export const SKIPPED: ReadonlyMap<string, string> = new Map([
  ['TestAPI_UseUnixSocketsSelect.test_handle_expt', NO_URGENT_DATA],
  ['TestAPI_UseUnixSocketsPoll.test_handle_expt', NO_URGENT_DATA],
  [
    'DispatcherTests.test_issue_8594',
    'a channel that hands unknown attributes on to its socket was deprecated in 2.7 and is gone ' +
      'since 3.0; TypeScript refuses them before the program runs',
  ],
]);

/** What the title of a case adds to its name. */
export function titleOf(id: string, name = id): string {
  const reason = SKIPPED.get(id);
  return reason === undefined ? name : `${name}: ${reason}`;
}

export type Register = (name: string, body?: (() => void) | (() => Promise<void>)) => void;

/**
 * What registers the cases of one of CPython's classes, inside the `describe` for it.
 * @param variant when this is a repetition: over what
 */
export function casesOf(testClass: string, variant = ''): Register {
  return (name, body) => {
    const id = `${testClass}.${name}`;
    const title = titleOf(id, variant === '' ? id : name);
    if (SKIPPED.has(id)) it.skip(title, () => {});
    else if (body === undefined) throw new Error(`${id} has no body`);
    else it(title, body);
  };
}

/** The name of the `describe` for a class, or for a repetition of it. */
export function describeName(testClass: string, variant = ''): string {
  return variant === '' ? testClass : `${testClass} over ${variant}`;
}
