// Makes docs/channel-life.svg of docs/channel-life.dot. Graphviz runs as WebAssembly and measures text by
// tables of its own, so that the result is the same everywhere.
//
//   tsx docs/site/picture.mts [--check] [FOLDER]
//
// --check writes nothing, and fails when the SVG is not what the source gives. FOLDER is docs/ by default.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { instance } from '@viz-js/viz';

const { values, positionals } = parseArgs({
  options: { check: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const [folder = join(import.meta.dirname, '..')] = positionals;
const SOURCE = join(folder, 'channel-life.dot');
const SVG = join(folder, 'channel-life.svg');

const TITLE = 'The life of a channel: listening or connecting, connected, half-closed, closed';

const MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const PROPORTIONAL = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";

/** For readers who prefer dark: light -> dark. */
const DARK: Record<string, string> = {
  '#ffffff': '#0d1117',
  '#f6f8fa': '#151b23',
  '#ddf4ff': '#0c2d4d',
  '#59636e': '#9198a1',
  '#0969da': '#4493f8',
  '#0550ae': '#79c0ff',
  '#1a7f37': '#3fb950',
  '#d1d9e0': '#3d444d',
};

function style(): string {
  const colors = Object.entries(DARK).flatMap(([light, dark]) => [
    `[fill="${light}"] { fill: ${dark}; }`,
    `[stroke="${light}"] { stroke: ${dark}; }`,
  ]);
  const rules = ['text { fill: #f0f6fc; }', ...colors].map((rule) => `      ${rule}`);
  return `
    text { font-family: ${MONOSPACE}; }
    text[font-style="italic"] { font-family: ${PROPORTIONAL}; font-style: normal; }
    @media (prefers-color-scheme: dark) {
${rules.join('\n')}
    }
  `;
}

/** What Graphviz has drawn, for a web page: its size in pixels, a background of its own, two fonts. */
function forTheWeb(drawn: string): string {
  const size = /<svg width="([\d.]+)pt" height="([\d.]+)pt"/.exec(drawn);
  if (size === null) throw new Error(`Graphviz gives no size: ${drawn.slice(0, 400)}`);
  const [, width = '', height = ''] = size;
  const body = drawn
    .slice(drawn.indexOf('<g id="graph0"'))
    .replaceAll(/<!--.*?-->\n?/gs, '')
    .replaceAll(/<title>.*?<\/title>\n?/g, '')
    .replaceAll(/ (id|class|xml:space|font-family)="[^"]*"/g, '')
    .replace(/<polygon fill="#ffffff".*?\/>\n/, '');
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">
<title id="title">${TITLE}</title>
<style>${style()}</style>
<rect x="0.5" y="0.5" width="${Number(width) - 1}" height="${Number(height) - 1}" rx="10" fill="#ffffff" stroke="#d1d9e0"/>
${body}`;
}

const viz = await instance();
const svg = forTheWeb(viz.renderString(readFileSync(SOURCE, 'utf8'), { format: 'svg' }));
if (!values.check) {
  writeFileSync(SVG, svg);
} else if (readFileSync(SVG, 'utf8') !== svg) {
  console.error(`${SVG} is not what ${SOURCE} gives: npm run docs:picture`);
  process.exitCode = 1;
}
