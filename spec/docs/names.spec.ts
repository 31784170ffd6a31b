// The table of names is true, of Python and of us.

import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as asyncore from 'asyncore';
import {
  ChannelMap,
  Dispatcher,
  DispatcherWithSend,
  Fifo,
  FileDispatcher,
  FileWrapper,
  SimpleProducer,
} from 'asyncore';
import { GROUPS, type Name, page } from '../support/names';
import { ROOT } from '../support/program';
import { itWithPython, PYTHON } from '../support/python';
import { QuietChat } from '../support/quiet-chat';

const map = new ChannelMap();
const fd = openSync('/dev/null', 'r');
const wrapper = new FileWrapper(fd);
const file = new FileDispatcher(wrapper, map);

/** One of each class. */
const INSTANCES: Record<string, object> = {
  Dispatcher: new Dispatcher(null, map),
  DispatcherWithSend: new DispatcherWithSend(null, map),
  FileDispatcher: file,
  FileWrapper: wrapper,
  AsyncChat: new QuietChat(null, map),
  SimpleProducer: new SimpleProducer(''),
  Fifo: new Fifo(),
};

afterAll(() => {
  file.close();
  wrapper.close();
  closeSync(fd);
});

const PRESENT: [string, string, string | null, string][] = [];
for (const group of GROUPS) {
  for (const { python, ours, where } of group.names) {
    if (ours !== null) PRESENT.push([`${group.python}.${python}`, ours, group.ours, where]);
  }
}

describe('Our names', () => {
  it.each(PRESENT)('%s is %s', (_, ours, owner) => {
    const name = ours.replace('()', '');
    const holder = owner === null ? asyncore : (INSTANCES[owner] as object);
    expect(name in holder).toBe(true);
    const value = (holder as Record<string, unknown>)[name];
    expect(typeof value === 'function').toBe(ours.endsWith('()'));
  });

  it.each(PRESENT)('%s, which is %s, lives where the table says', (_, ours, owner, where) => {
    const name = ours.replace('()', '');
    const source = readFileSync(join(ROOT, 'lib', where), 'utf8');
    const pattern =
      owner === null
        ? `^export (?:abstract )?(?:async )?(?:class|const|function) ${name}\\b`
        : `^ +(?:abstract |declare |override |readonly |get )*${name}\\b`;
    expect(source).toMatch(new RegExp(pattern, 'm'));
  });

  it('come with a reason where there is none', () => {
    const missing = GROUPS.flatMap((group) => group.names).filter(({ ours }) => ours === null);
    for (const { where } of missing) expect(where).toMatch(/\w \w/);
  });

  it('stand in the table once', () => {
    for (const { names } of GROUPS) {
      const python = names.map((name) => name.python);
      expect(python).toEqual([...new Set(python)]);
    }
  });

  it('are printed in docs/names.md', () => {
    expect(readFileSync(join(ROOT, 'docs', 'names.md'), 'utf8')).toBe(page());
  });
});

// What Python's modules hold: of a module everything, of a class what it defines itself, and what
// an object of it holds. With `()`: can be called; a class is named without, as in Python.
const SCRIPT = `
import asyncore, asynchat, json, os, socket

def calls(value):
    return callable(value) and not isinstance(value, type)

def spell(names):
    return sorted(name + ('()' if calls(value) else '') for name, value in names.items())

def of_module(module):
    names = {name: getattr(module, name) for name in dir(module) if name[:2] != '__'}
    names.pop('warn', None)  # 3.10 imports it by itself
    return spell(names)

LANGUAGE = {'__module__', '__dict__', '__weakref__', '__doc__'}

def of_class(one):
    names = {name: value for name, value in vars(one.__class__).items() if name not in LANGUAGE}
    inherited = {name for base in one.__class__.__mro__[1:] for name in vars(base)}
    for base in one.__class__.__mro__[1:-1]:
        inherited |= set(vars(made[base.__name__]))
    names.update({name: value for name, value in vars(one).items() if name not in inherited})
    return spell(names)

made = {}
def make(one):
    made[one.__class__.__name__] = one
    return of_class(one)

ours, other = socket.socketpair()
readable, writable = os.pipe()
answer = {'asyncore': of_module(asyncore), 'asynchat': of_module(asynchat)}
plain = asyncore.dispatcher()
plain.create_socket()
answer['asyncore.dispatcher'] = make(plain)
answer['asyncore.dispatcher_with_send'] = make(asyncore.dispatcher_with_send(ours))
answer['asyncore.file_wrapper'] = make(asyncore.file_wrapper(readable))
answer['asyncore.file_dispatcher'] = make(asyncore.file_dispatcher(readable))
chat = asynchat.async_chat(other)
chat.set_terminator(1)
answer['asynchat.async_chat'] = make(chat)
answer['asynchat.simple_producer'] = make(asynchat.simple_producer(b''))
print(json.dumps(answer))
`;

interface Answer {
  version: string;
  names: Record<string, string[]>;
}

function ask(): Answer {
  const python = PYTHON as string;
  const options = { encoding: 'utf8', timeout: 10_000 } as const;
  const { stdout, stderr } = spawnSync(python, ['-W', 'ignore', '-c', SCRIPT], options);
  if (stdout === '') throw new Error(stderr);
  const version = spawnSync(python, ['--version'], options).stdout.trim();
  return { version, names: JSON.parse(stdout) };
}

describe('Python’s names', () => {
  const current = GROUPS.filter(({ before }) => before === undefined);
  const spelled = (names: Name[]): string[] => names.map(({ python }) => python).sort();

  itWithPython('all stand in the table', () => {
    const { version, names } = ask();
    expect(Object.keys(names).sort()).toEqual(current.map(({ python }) => python).sort());
    for (const group of current) {
      const real = names[group.python] as string[];
      const listed = spelled(group.names);
      // Older versions lack some, the warnings of 3.11 for one.
      const expected = version.startsWith('Python 3.11.')
        ? listed
        : listed.filter((name) => real.includes(name));
      expect([group.python, [...real].sort()]).toEqual([group.python, expected]);
    }
  });
});
