// Pages with the source of a file, its lines numbered, and pages that list the files of a folder.

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');

/** A file is shown at its path below media/. */
const depthOf = (path: string): number => path.split('/').length;

/**
 * @param title a path from the root of the project
 * @param depth how many folders below the site's own the page stands
 */
function page(title: string, depth: number, body: string): string {
  const base = '../'.repeat(depth);
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} | asyncore</title>
<link rel="icon" href="${base}assets/favicon.svg" type="image/svg+xml">
<link rel="stylesheet" href="${base}assets/style.css">
<link rel="stylesheet" href="${base}assets/highlight.css">
<link rel="stylesheet" href="${base}assets/custom.css">
<script>document.documentElement.dataset.theme = localStorage.getItem('tsd-theme') || 'os';</script>
</head>
<body>
<header class="source-header"><a href="${base}index.html">asyncore</a> <span>${escapeHtml(title)}</span></header>
<main class="source-main tsd-typography">
${body}
</main>
</body>
</html>
`;
}

/**
 * The page of a source file.
 * @param path from the root of the project
 * @param highlighted its text as HTML, a `<br/>` at each line's end, as TypeDoc makes it
 */
export function sourcePage(path: string, highlighted: string): string {
  const lines = highlighted.replace(/(<br\/?>)+$/, '').split(/<br\/?>/);
  const rows = lines.map((line, index) => `<span class="line" id="L${index + 1}">${line}</span>`);
  return page(path, depthOf(path), `<pre class="source"><code>${rows.join('\n')}</code></pre>`);
}

/**
 * The page of a folder: what each of its files says of itself in its first comment.
 * @param path from the root of the project
 * @param files name -> text
 */
export function folderPage(path: string, files: ReadonlyMap<string, string>): string {
  const items = [...files].map(([name, text]) => {
    const summary = /^(?:\/\/\/ .*\n)?((?:\/\/ ?.+\n)+)/.exec(text)?.[1] ?? '';
    const prose = summary.replaceAll(/^\/\/ ?/gm, '').replaceAll('\n', ' ');
    const words = escapeHtml(prose).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
    return `<dt><a href="${escapeHtml(name)}.html">${escapeHtml(name)}</a></dt><dd>${words}</dd>`;
  });
  return page(path, depthOf(path) + 1, `<dl>${items.join('\n')}</dl>`);
}
