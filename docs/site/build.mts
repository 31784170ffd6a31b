// The site: the API reference, with the pages of docs/ as its guides. `npm run docs` writes it to site/.
//
//   tsx docs/site/build.mts [--root FOLDER] [--check]
//
// --check writes nothing. Every warning is an error: a public name without a doc comment, a link that leads
// nowhere, a type in a signature that is not exported.
//
// TypeDoc does the work, with the options in typedoc.json. What this file adds:
//
// - The names in lib/ are sorted by the folder that they come from, constants by their prefix.
// - Each name tells its name in Python, from the table that docs/names.md is made of.
// - A link to a source file, and "Defined in", lead to a page with that source, its lines numbered.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import {
  Application,
  Comment,
  type CommentDisplayPart,
  CommentTag,
  Converter,
  type DeclarationReflection,
  type FileRegistry,
  KindRouter,
  normalizePath,
  type ProjectReflection,
  type Reflection,
  ReflectionKind,
  RendererEvent,
  type SignatureReflection,
  TSConfigReader,
  TypeDocReader,
  ValidatingFileRegistry,
} from 'typedoc';
import { GROUPS } from '../../spec/support/names.js';
import { folderPage, sourcePage } from './source-page.mjs';

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: resolve(import.meta.dirname, '../..') },
    check: { type: 'boolean', default: false },
  },
});
const ROOT = resolve(values.root);

/** The guides that come first, in this order; those that are not named here follow. */
const GUIDES = ['tutorial', 'cookbook', 'timers', 'porting', 'names', 'differences', 'security'];
/** The documents for a reader who wants to know how and why, rather than get something done. */
const BACKGROUND = ['design', 'conformance', 'performance', 'CHANGELOG', 'SECURITY'];

/** All documents, in order. README.md is the front page. */
function documents(): string[] {
  const pages = (folder: string): string[] =>
    readdirSync(join(ROOT, folder))
      .filter((name) => name.endsWith('.md') && name !== 'README.md')
      .map((name) => join(ROOT, folder, name));
  const order = [...GUIDES, '', ...BACKGROUND];
  const place = (path: string): number => {
    const found = order.indexOf(basename(path, '.md'));
    return found === -1 ? order.indexOf('') : found;
  };
  return [...pages('docs'), ...pages('.')].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

const CATEGORIES: Record<string, string> = {
  'lib/channels': 'Channels',
  'lib/chat': 'Chats and producers',
  'lib/streams': "Node's streams",
  'lib/loop': 'The loop',
  'lib/kernel': 'Sockets and addresses',
  'lib/errors.ts': 'Errors',
};

const CONSTANTS: [RegExp, string][] = [
  [/^(AF|AI|SOCK|IPPROTO)_/, 'Constants: AF, SOCK'],
  [/^(SOL|SO|SCM)_/, 'Constants: SO, SCM'],
  [/^TCP_/, 'Constants: TCP'],
  [/^IP(V6)?_/, 'Constants: IP, IPV6'],
  [/^(MSG|SHUT)_|^POLL|^SOMAXCONN$/, 'Constants: MSG, POLL'],
];

/** Files of the project that the site shows as pages of their own. */
const isSource = (file: string): boolean => /\.[cm]?[jt]s$/.test(file);
const isOurs = (file: string): boolean => !/^\.\.|node_modules/.test(relative(ROOT, file));
const isFolder = (file: string): boolean => statSync(file).isDirectory();

/** Where links of the documents lead. TypeDoc's own registry knows the documents, and copies other files. */
class Files extends ValidatingFileRegistry {
  /** The source files and folders among what the pages link to. */
  readonly linked = new Set<string>();

  /** The path of a file's page, below media/. */
  override getName(id: Parameters<FileRegistry['getName']>[0]): string | undefined {
    const file = this.resolvePath(id);
    if (file === undefined || !(isFolder(file) || isSource(file))) return super.getName(id);
    this.linked.add(file);
    return isFolder(file) ? `${relative(ROOT, file)}/index.html` : `${relative(ROOT, file)}.html`;
  }

  override getMediaPaths(): ReturnType<FileRegistry['getMediaPaths']> {
    return [...super.getMediaPaths()].filter((file) => !isFolder(file));
  }
}

/** Documents keep the names of their files: guides/tutorial.html. */
class Router extends KindRouter {
  protected override getIdealBaseName(reflection: Reflection): string {
    if (!reflection.isDocument()) return super.getIdealBaseName(reflection);
    const file = reflection.project.files.getReflectionPath(reflection) ?? reflection.name;
    return `guides/${basename(file, '.md').toLowerCase()}`;
  }
}

/** Python's name of each of ours: `AsyncChat.push` -> `asynchat.async_chat.push()`. */
const PYTHON = new Map<string, string>();
for (const { python, ours: owner, names, before } of GROUPS) {
  for (const { python: name, ours } of names) {
    if (ours === null) continue;
    const key = [owner, ours.replace('()', '')].filter((part) => part !== null).join('.');
    const since = before === undefined ? '' : ` of ${before}`;
    if (!PYTHON.has(key)) PYTHON.set(key, `\`${python}.${name}\`${since}`);
  }
}

/** What a reflection is called in Python, where it is defined or where it is inherited from. */
function pythonName(reflection: DeclarationReflection): string | undefined {
  const places = [reflection.parent?.isProject() ? '' : `${reflection.parent?.name}.`];
  for (const from of [reflection.inheritedFrom, reflection.overwrites]) {
    if (from !== undefined) places.push(from.name.replace(/[^.]*$/, ''));
  }
  for (const place of places) {
    const found = PYTHON.get(`${place}${reflection.name}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function tellPythonName(reflection: DeclarationReflection): void {
  const name = pythonName(reflection);
  if (name === undefined) return;
  const holders: (DeclarationReflection | SignatureReflection)[] = [
    ...(reflection.signatures ?? []),
    ...(reflection.getSignature === undefined ? [] : [reflection.getSignature]),
  ];
  if (holders.length === 0) holders.push(reflection);
  for (const { comment } of holders) {
    comment?.blockTags.push(new CommentTag('@python', [{ kind: 'text', text: name }]));
  }
}

/** The classes of `@throws {RangeError|TypeError}`, which TypeDoc does not show. Ours are links. */
function tellThrown(comment: Comment, project: ProjectReflection): void {
  for (const tag of comment.blockTags) {
    const { typeAnnotation } = tag;
    if (tag.tag !== '@throws' || typeAnnotation === undefined) continue;
    const parts: CommentDisplayPart[] = [];
    for (const name of typeAnnotation.replace(/^\{|\}$/g, '').split('|')) {
      if (parts.length > 0) parts.push({ kind: 'text', text: ' or ' });
      const target = project.getChildByName([name]);
      if (target === undefined) parts.push({ kind: 'code', text: `\`${name}\`` });
      else parts.push({ kind: 'inline-tag', tag: '@linkcode', text: name, target });
    }
    delete tag.typeAnnotation;
    tag.content.unshift(...parts, { kind: 'text', text: ' ' });
  }
}

function categoryOf(reflection: DeclarationReflection): string | undefined {
  const file = relative(ROOT, reflection.sources?.[0]?.fullFileName ?? ROOT);
  if (file.endsWith('/constants.ts')) {
    return CONSTANTS.find(([prefix]) => prefix.test(reflection.name))?.[1];
  }
  return Object.entries(CATEGORIES).find(([folder]) => file.startsWith(folder))?.[1];
}

const app = await Application.bootstrap({ options: ROOT, out: join(ROOT, 'site') }, [
  new TypeDocReader(),
  new TSConfigReader(),
]);
app.files = new Files(normalizePath(ROOT));
app.renderer.defineRouter('site', Router);
app.options.setValue('router', 'site');
app.options.setValue('projectDocuments', documents());
app.options.setValue('blockTags', [...app.options.getValue('blockTags'), '@python']);

app.converter.on(Converter.EVENT_CREATE_DOCUMENT, (_context, document) => {
  const file = basename(document.name, '.md');
  const [title] = /(?<=^# ).*/m.exec(Comment.combineDisplayParts(document.content)) ?? [];
  if (title === undefined) app.logger.error(`${file}.md has no heading` as never);
  else document.name = title.replaceAll('`', '');
  document.frontmatter.category = BACKGROUND.includes(file) ? 'Background' : 'Guides';
});

app.converter.on(
  Converter.EVENT_RESOLVE_BEGIN,
  ({ project }) => {
    for (const reflection of project.getReflectionsByKind(ReflectionKind.Method)) {
      // What console.log prints: nothing that a program calls.
      if (reflection.name === '[custom]') project.removeReflection(reflection);
    }
  },
  1000,
);

app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
  for (const reflection of Object.values(project.reflections)) {
    if (reflection.isDeclaration()) tellPythonName(reflection);
    if (reflection.comment !== undefined) tellThrown(reflection.comment, project);
    // What is inherited from JavaScript's own classes has no page with a source.
    if (reflection.isDeclaration() || reflection.isSignature()) {
      reflection.sources &&= reflection.sources.filter(({ fullFileName }) => isOurs(fullFileName));
    }
  }
});

app.converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
  for (const reflection of project.children ?? []) {
    const category = categoryOf(reflection);
    if (category === undefined) {
      app.logger.error(`docs/site/build.mts has no category for ${reflection.name}` as never);
      continue;
    }
    // A comment that is made for the category would count as documentation: names without one go without.
    const signature = reflection.signatures?.find(({ comment }) => comment !== undefined);
    const comment = reflection.comment ?? signature?.comment;
    const content: CommentDisplayPart[] = [{ kind: 'text', text: category }];
    comment?.blockTags.push(new CommentTag('@category', content));
  }
});

/** Adds a page for each source file that the site links to, and for each folder. */
function writeSources(output: string, project: ProjectReflection, files: Files): void {
  const sources = new Set<string>();
  for (const path of files.linked) {
    if (!isFolder(path)) sources.add(path);
    else for (const name of filesOf(path)) sources.add(join(path, name));
  }
  for (const reflection of Object.values(project.reflections)) {
    if (!reflection.isDeclaration() && !reflection.isSignature()) continue;
    for (const { fullFileName } of reflection.sources ?? []) {
      sources.add(fullFileName);
    }
  }
  const write = (name: string, page: string): void => {
    const file = join(output, 'media', name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, page);
  };
  for (const source of sources) {
    const path = relative(ROOT, source);
    const text = readFileSync(source, 'utf8').trimEnd();
    write(`${path}.html`, sourcePage(path, app.renderer.markedPlugin.getHighlighted(text, 'ts')));
  }
  for (const folder of [...files.linked].filter(isFolder)) {
    const texts = filesOf(folder).map((name): [string, string] => [
      name,
      readFileSync(join(folder, name), 'utf8'),
    ]);
    write(
      `${relative(ROOT, folder)}/index.html`,
      folderPage(relative(ROOT, folder), new Map(texts)),
    );
  }
}

/** The source files of a folder and its subfolders. */
function filesOf(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(isSource);
  // A folder's own before those of its subfolders.
  const depth = (name: string): number => name.split('/').length;
  return names.sort((a, b) => depth(a) - depth(b) || (a < b ? -1 : 1));
}

app.renderer.on(
  RendererEvent.END,
  (event: RendererEvent) => {
    if (app.files instanceof Files) writeSources(event.outputDirectory, event.project, app.files);
  },
  // Before the highlighter writes the colours that it has used.
  1000,
);

/** Members of a type that is written within a signature: the text of the signature's owner covers them. */
function inlineMembers(project: ProjectReflection): string[] {
  const names = new Set<string>();
  for (const reflection of Object.values(project.reflections)) {
    if (!reflection.isDeclaration() || reflection.hasComment()) continue;
    if (reflection.signatures?.some((signature) => signature.hasComment())) continue;
    const literal = reflection.parent;
    if (literal?.kind !== ReflectionKind.TypeLiteral) continue;
    const owner = literal.parent;
    const isAlias =
      owner?.kind === ReflectionKind.TypeAlias &&
      owner.isDeclaration() &&
      owner.type?.type === 'reflection';
    // TypeDoc asks for no comments within parameters.
    let above: Reflection | undefined = owner;
    while (above !== undefined && above.kind !== ReflectionKind.Parameter) above = above.parent;
    if (!isAlias && above === undefined) names.add(reflection.getFriendlyFullName());
  }
  return [...names];
}

const project = await app.convert();
if (project !== undefined) {
  app.options.setValue('intentionallyNotDocumented', inlineMembers(project));
  app.validate(project);
  if (!values.check) await app.generateOutputs(project);
}
process.exitCode =
  project === undefined || app.logger.hasErrors() || app.logger.hasWarnings() ? 1 : 0;
