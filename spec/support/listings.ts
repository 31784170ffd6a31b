// The programs that the documentation prints, and a folder to run them in.

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { buildInto } from './build';
import { Program, ROOT } from './program';
import transpiled from './transpiled.cjs';

/** Program texts by file name. */
export type Listings = ReadonlyMap<string, string>;

function read(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8');
}

/** The listings of a page in one language, in their order. */
export function listingsOf(page: string, language = 'ts'): string[] {
  const fences = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms');
  return [...read(page).matchAll(fences)].map((match) => match[1] as string);
}

/** Those that begin with their file name in a comment. */
function named(text: string, language = 'ts'): Map<string, string> {
  const listings = text.matchAll(
    new RegExp(`^\`\`\`${language}\n((?://|#) (\\S+)\n.*?)^\`\`\`$`, 'gms'),
  );
  return new Map([...listings].map(([, code = '', name = '']) => [name, code]));
}

/** The listings of a page in one language that begin with their file name. */
export function namedListings(page: string, language = 'ts'): Listings {
  return named(read(page), language);
}

export function cookbook(): Listings {
  return named(read('docs/cookbook.md'));
}

/** The files of each step of the tutorial: those that it prints, and those of the steps before it. */
export function tutorialSteps(): Listings[] {
  const steps: Listings[] = [];
  for (const section of read('docs/tutorial.md')
    .split(/^## \d\. /m)
    .slice(1)) {
    steps.push(new Map([...(steps.at(-1) ?? []), ...named(section)]));
  }
  return steps;
}

/** All files of the tutorial: each step in a folder of its own. */
export function tutorial(): Listings {
  return new Map(
    tutorialSteps().flatMap((files, index) =>
      [...files].map(([name, code]): [string, string] => [join(String(index + 1), name), code]),
    ),
  );
}

function isNamed(code: string): boolean {
  return /^(\/\/|#) \S+\n/.test(code);
}

/** The nameless programs of a page. They are ES modules, for their top-level await. */
export function programsOf(page: string): Listings {
  const programs = listingsOf(page).filter((code) => !isNamed(code));
  return new Map(programs.map((code, index) => [`program-${index}.mts`, code]));
}

/**
 * Writes listings into a folder in which the package asyncore is installed, beside the JavaScript that
 * the compiler makes of them. The folder goes after the spec.
 */
export function writeListings(listings: Listings): string {
  const folder = mkdtempSync(join(tmpdir(), 'asyncore-listings-'));
  for (const [name, code] of listings) {
    const file = join(folder, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, code);
    if (name.endsWith('ts')) writeFileSync(javaScriptOf(file), transpiled(file));
  }
  const installed = join(folder, 'node_modules', 'asyncore');
  mkdirSync(installed, { recursive: true });
  buildInto(installed);
  afterAll(() => rmSync(folder, { recursive: true }));
  return folder;
}

function javaScriptOf(file: string): string {
  return file.replace(/ts$/, 'js');
}

/** Runs a listing as a user would: built, and with the package installed. */
export function runListing(file: string, env?: NodeJS.ProcessEnv): Program {
  return new Program(process.execPath, [javaScriptOf(file)], env);
}

/** A listing whose default map goes by a clock that the spec moves. */
export class ProgramInVirtualTime extends Program {
  constructor(file: string, env?: NodeJS.ProcessEnv) {
    const preload = join(__dirname, 'virtual-time.cjs');
    super(process.execPath, ['--require', preload, javaScriptOf(file)], env);
    // It may have ended when the time moves.
    this.child.stdin.on('error', () => {});
  }

  /** Moves the clock on, by a number of ms. */
  advance(duration: number): void {
    this.child.stdin.write(`${duration}\n`);
  }
}
