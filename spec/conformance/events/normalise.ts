// What must differ between the two traces, and nothing else: the one place where it is made equal.
//
//   the kernel's choice     ports, paths in a temporary directory
//   a channel's identity    `at 0x7f…` is its address in memory there and a number of its own here
//   the class in a repr     there it carries its module, `__main__.Channel`
//   "uncaptured python"     "uncaptured" here: it is none of Python's (docs/differences.md)
//   an error in the log     `<class 'ConnectionResetError'>:[Errno 104] Connection reset by peer`
//                           there, `SocketError:ECONNRESET: Connection reset by peer, recv` here:
//                           the classes differ by language, the code does not
//   its traceback           files and lines; that there is one is kept
//   nothing                 '', b'' and None there, null here: both runners write `nothing`

// A frame is `[file|function|line]`, and `function` may have brackets of its own.
const FRAMES = String.raw`\[[^|\]]*\|[^|]*\|\d+\].*`;
const PYTHON_ERROR = new RegExp(String.raw`\(<class '(?:[\w.]+\.)?(\w+)'>:(.*?) ${FRAMES}\)\\n"$`);
const OWN_ERROR = new RegExp(String.raw`\((\w+):(.*?) ${FRAMES}\)\\n"$`);

export function normalise(line: string, codeOf: (errno: number) => string): string {
  return line
    .replace(/^(stdout "error: uncaptured) python exception/, '$1 exception')
    .replace(
      PYTHON_ERROR,
      (_, name, text) => `(${pythonError(name, text, codeOf)} [traceback])\\n"`,
    )
    .replace(OWN_ERROR, (_, name, text) => `(${ownError(name, text)} [traceback])\\n"`)
    .replace(/<__main__\.Channel/g, '<Channel')
    .replace(/ at 0x[0-9a-f]+>/g, ' at 0x…>')
    .replace(/failed for object at (0x)?[0-9a-f]+>/g, 'failed for object at 0x…>')
    .replace(/127\.0\.0\.1:\d+/g, 'HOST:PORT')
    .replace(/::1(\]?):\d+/g, '::1$1:PORT')
    .replace(/\('::1', \d+,/g, "('::1', PORT,")
    .replace(/'\/[^']*\/(\w+)'/g, "'PATH/$1'");
}

function pythonError(name: string, text: string, codeOf: (errno: number) => string): string {
  const errno = /^\[Errno (\d+)\] /.exec(text)?.[1];
  return errno === undefined ? `${name}:${text}` : codeOf(Number(errno));
}

function ownError(name: string, text: string): string {
  return name === 'SocketError' ? text.slice(0, text.indexOf(':')) : `${name}:${text}`;
}
