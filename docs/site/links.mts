// Checks that every link leads to a file, and to an anchor in it: the links of a built site, and those of
// the Markdown pages of a folder. Links to other hosts are left out, so that a check needs no network.
//
//   tsx docs/site/links.mts FOLDER...
//
// A folder with an index.html is a site. In any other, the pages beside README.md and in docs/ are checked.

import { existsSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, posix, resolve } from 'node:path';
import { LinkChecker, LinkState } from 'linkinator';

/** With fewer files, a check has seen only a part. */
const FEWEST = 3;

function markdownPages(folder: string): string[] {
  const names = (path: string): string[] =>
    readdirSync(join(folder, path)).map((name) => posix.join(path, name));
  const pages = [...names('.'), ...names('docs')].filter((name) => name.endsWith('.md'));
  if (!pages.includes('README.md')) throw new Error(`There is no README.md in ${folder}`);
  return pages;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, 'localhost');
  await new Promise((listening) => server.once('listening', listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

async function check(folder: string): Promise<boolean> {
  const isSite = existsSync(join(folder, 'index.html'));
  const port = await freePort();
  const files = new Set<string>();
  const broken = new Set<string>();
  const checker = new LinkChecker();
  checker.on('link', ({ url, parent, state, status }) => {
    const path = decodeURI(url)
      .replace(/^\.?\//, '')
      .replace(/^#/, 'index.html#');
    if (state !== LinkState.BROKEN) files.add(path);
    else if (status === 200) broken.add(`${path}: no such anchor`);
    else broken.add(`${path}: no such file (${status}); ${parent ?? folder} links to it`);
  });
  // A page that was read before another one is found to link to an anchor in it is not looked at again. The
  // checker remembers the anchor, by its URL, and the second run finds it.
  for (const _ of ['files, and most of the anchors', 'the other anchors']) {
    await checker.check({
      path: isSite ? '.' : markdownPages(folder),
      serverRoot: folder,
      port,
      recurse: isSite,
      checkFragments: true,
      markdown: !isSite,
      directoryListing: !isSite,
      linksToSkip: async (url) => !url.startsWith(`http://localhost:${port}/`),
    });
  }
  for (const line of [...broken].sort()) console.error(line);
  console.log(`${folder}: ${files.size} files and pages, ${broken.size} broken links`);
  return broken.size === 0 && files.size >= FEWEST;
}

for (const folder of process.argv.slice(2)) {
  if (!(await check(resolve(folder)))) process.exitCode = 1;
}
