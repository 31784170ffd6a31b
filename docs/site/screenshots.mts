// Screenshots of the built site for a person to look at, and what a browser says of its pages: an error in
// the console, a file that cannot be loaded, an empty page or one that scrolls sideways fails the run.
//
//   tsx docs/site/screenshots.mts [SITE [FOLDER]]    by default from site/ to screenshots/
//
// The browser is the system's Chromium, or the program that CHROMIUM names.

import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { type Browser, chromium, type Page } from 'playwright-core';

const [site = 'site', folder = resolve('screenshots')] = process.argv.slice(2);

/** The pages are given to the browser from the folder, at this address. */
const ORIGIN = 'http://asyncore.test/';

interface Shot {
  readonly name: string;
  readonly path: string;
  readonly colorScheme?: 'light' | 'dark';
  readonly width?: number;
  /** What is done to the page first. */
  act?(page: Page): Promise<void>;
}

const SHOTS: Shot[] = [
  { name: 'front', path: 'index.html' },
  { name: 'front-dark', path: 'index.html', colorScheme: 'dark' },
  { name: 'front-phone', path: 'index.html', width: 390 },
  { name: 'class', path: 'classes/AsyncChat.html' },
  { name: 'method', path: 'classes/AsyncChat.html#push' },
  { name: 'class-dark', path: 'classes/AsyncChat.html', colorScheme: 'dark' },
  { name: 'guide', path: 'guides/tutorial.html' },
  { name: 'source', path: 'media/lib/loop/loop.ts.html' },
  { name: 'folder', path: 'media/docs/examples/index.html' },
  { name: 'search', path: 'index.html', act: search },
];

/** A search finds a method by its name. */
async function search(page: Page): Promise<void> {
  await page.locator('#tsd-search-trigger').click();
  await page.locator('#tsd-search-input').fill('setTerminator');
  await page.locator('#tsd-search-results li', { hasText: 'AsyncChat' }).first().waitFor();
}

async function shoot(browser: Browser, shot: Shot): Promise<string[]> {
  const complaints: string[] = [];
  const context = await browser.newContext({
    viewport: { width: shot.width ?? 1280, height: 900 },
    colorScheme: shot.colorScheme ?? 'light',
  });
  context.setDefaultTimeout(20_000);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('requestfailed', (request) => complaints.push(`cannot load ${request.url()}`));
  page.on('response', (response) => {
    if (!response.ok()) complaints.push(`${response.status()} for ${response.url()}`);
  });
  await page.route('**', async (route) => {
    const path = join(site, new URL(route.request().url()).pathname);
    await (existsSync(path) ? route.fulfill({ path }) : route.fulfill({ status: 404 }));
  });
  await page.goto(`${ORIGIN}${shot.path}`, { waitUntil: 'load' });
  await page.locator('h1, main').first().waitFor({ state: 'visible' });
  await shot.act?.(page);
  const { length } = await page.locator('body').innerText();
  if (length < 500) complaints.push(`only ${length} characters of text`);
  const overflow: unknown = await page.evaluate(
    'document.documentElement.scrollWidth - window.innerWidth',
  );
  if (!(Number(overflow) <= 0)) complaints.push(`${overflow} pixels wider than the window`);
  await page.screenshot({ path: join(folder, `${shot.name}.png`) });
  await context.close();
  return [...new Set(complaints)].map((complaint) => `${shot.name} (${shot.path}): ${complaint}`);
}

const programs = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
const executablePath = process.env.CHROMIUM ?? programs.find((path) => existsSync(path));
if (executablePath === undefined) throw new Error(`No Chromium: none of ${programs.join(', ')}`);

rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
// Chromium's sandbox does not work for root, nor in most containers. The pages are our own.
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
try {
  for (const shot of SHOTS) {
    for (const complaint of await shoot(browser, shot)) {
      console.error(complaint);
      process.exitCode = 1;
    }
  }
} finally {
  await browser.close();
}
console.log(`${SHOTS.length} screenshots in ${folder}`);
