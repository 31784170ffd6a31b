// Text to bytes without loss, for producers and for chats. Where an encoding cannot hold a character, Node
// writes something else: latin1 takes the lower byte, so that U+010A in a nickname would be a line feed on
// the wire.

import { unencodable } from '../../errors';

/** TypeScript's library for ES2023 has none of the string methods of ES2024; Node 20 has. */
type Text = string & { isWellFormed(): boolean };

/** The index of the first character that an encoding cannot hold, or -1. */
type Search = (text: string) => number;

const unicode: Search = (text) =>
  // No search in the common case: a string of one byte per character is known to be well-formed.
  (text as Text).isWellFormed() ? -1 : text.search(/\p{Surrogate}/u);

const latin1: Search = (text) => text.search(/[^\0-\xff]/);

const ascii: Search = (text) => text.search(/[^\0-\x7f]/);

const hex: Search = (text) => {
  const index = text.search(/[^\da-f]/i);
  return index === -1 && text.length % 2 === 1 ? text.length - 1 : index;
};

/** Both alphabets, with or without padding. White space is skipped, as by Node. */
const base64: Search = (text) => {
  let end = text.length;
  while (end > 0 && '= \t\r\n\f'.includes(text[end - 1] as string)) end -= 1;
  const digits = text.slice(0, end);
  const index = digits.search(/[^\w+/ \t\r\n\f-]/);
  // Four digits are three bytes. A digit by itself is none.
  return index === -1 && digits.replace(/\s/g, '').length % 4 === 1 ? end - 1 : index;
};

const SEARCHES: ReadonlyMap<string, Search> = new Map([
  ['utf8', unicode],
  ['utf-8', unicode],
  ['utf16le', unicode],
  ['utf-16le', unicode],
  ['ucs2', unicode],
  ['ucs-2', unicode],
  ['latin1', latin1],
  ['binary', latin1],
  ['ascii', ascii],
  ['hex', hex],
  ['base64', base64],
  ['base64url', base64],
]);

/**
 * @param action what cannot be done otherwise
 * @throws {RangeError} `ERR_UNENCODABLE_CHARACTER` for a character that `encoding` cannot hold
 */
export function checkText(text: string, encoding: BufferEncoding, action: string): void {
  // Node takes the names in any case, and none for utf8. It refuses a name that it does not know.
  const name = encoding || 'utf8';
  const search = SEARCHES.get(name) ?? SEARCHES.get(String(name).toLowerCase());
  const index = search?.(text) ?? -1;
  if (index !== -1) throw unencodable(action, text, index, name);
}

/**
 * The bytes of a text.
 * @param action what cannot be done otherwise
 * @throws {RangeError} `ERR_UNENCODABLE_CHARACTER` for a character that `encoding` cannot hold
 * @throws {TypeError} `ERR_UNKNOWN_ENCODING`
 */
export function encodeText(text: string, encoding: BufferEncoding, action: string): Buffer {
  checkText(text, encoding, action);
  return Buffer.from(text, encoding);
}
