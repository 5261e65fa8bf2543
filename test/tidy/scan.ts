import { maskCode } from './mask.ts';

/** A TypeScript file as the rules see it. `path` is relative to the root, with forward slashes. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
  /** `text` with comments, strings and regular expressions blanked. */
  readonly code: string;
}

export function sourceFile(path: string, text: string): SourceFile {
  return { path, text, code: maskCode(text) };
}

export function lineOf(text: string, at: number): number {
  let line = 1;
  for (let found = text.indexOf('\n'); found >= 0 && found < at; line++) {
    found = text.indexOf('\n', found + 1);
  }
  return line;
}

/** The path an import names, relative to the importing file's folder. */
export function resolveImport(from: string, specifier: string): string {
  const parts = from.split('/').slice(0, -1);
  for (const part of specifier.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/** Paths of ours that a file imports or re-exports, types included. */
export function importsOf(file: SourceFile): string[] {
  const found: string[] = [];
  const pattern = /\b(?:from|import)\s*(?:\(\s*)?(?=['"])/g;
  for (let match = pattern.exec(file.code); match !== null; match = pattern.exec(file.code)) {
    const start = match.index + match[0].length;
    const end = file.code.indexOf(file.code[start] ?? '', start + 1);
    const specifier = file.text.slice(start + 1, end);
    if (specifier.startsWith('.')) found.push(resolveImport(file.path, specifier));
  }
  return found;
}

export interface CallSite {
  readonly line: number;
  /** The arguments as they stand in the source. */
  readonly args: readonly string[];
}

/** Plain calls of a function by this name: no methods, no declarations. */
export function callsOf(file: SourceFile, name: string): CallSite[] {
  const sites: CallSite[] = [];
  const pattern = new RegExp(`(?<![\\w.#$])(?<!function )${name}\\(`, 'g');
  for (let match = pattern.exec(file.code); match !== null; match = pattern.exec(file.code)) {
    const open = match.index + match[0].length - 1;
    const close = closingBracket(file.code, open);
    // A method's declaration goes on with its type or its body.
    if (/^\s*[:{]/.test(file.code.slice(close + 1, close + 8))) continue;
    const args = splitList(file.code, open, close).map(([a, b]) => file.text.slice(a, b).trim());
    sites.push({ line: lineOf(file.code, match.index), args });
  }
  return sites;
}

const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

export function closingBracket(code: string, open: number): number {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    const character = code[at] ?? '';
    if (character in CLOSING) depth++;
    else if (character === ')' || character === ']' || character === '}') depth--;
    if (depth === 0) return at;
  }
  return code.length;
}

/** The items between two brackets, split at commas that no bracket or type argument encloses. */
export function splitList(code: string, open: number, close: number): [number, number][] {
  const items: [number, number][] = [];
  let depth = 0;
  let start = open + 1;
  for (let at = open + 1; at < close; at++) {
    const character = code[at] ?? '';
    const opens = character in CLOSING || (character === '<' && /[\w$]/.test(code[at - 1] ?? ''));
    const closes =
      /[)\]}]/.test(character) || (character === '>' && depth > 0 && code[at - 1] !== '=');
    if (opens) depth++;
    else if (closes) depth--;
    else if (character === ',' && depth === 0) {
      items.push([start, at]);
      start = at + 1;
    }
  }
  // A trailing comma ends the list without beginning an item.
  if (code.slice(start, close).trim() !== '') items.push([start, close]);
  return items;
}
