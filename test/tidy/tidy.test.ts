import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkCycles, checkDirections, checkUnused } from './layers.ts';
import {
  checkAssertions,
  checkFileLength,
  checkFunctions,
  checkLeftOver,
  checkLineLength,
  checkOneTitle,
  checkPurity,
} from './rules.ts';
import { type SourceFile, sourceFile } from './scan.ts';

/** The repository tests its own tidiness. rules.test.ts shows each rule a bad sample. */
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = ['host', 'guest', 'shared', 'lab', 'test', 'docs'];
/** Data of others, kept as it came. */
const NOT_OURS = /^lab\/recordings\//;

function walk(folder: string): string[] {
  return readdirSync(`${ROOT}${folder}`, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    return entry.isDirectory() ? walk(path) : [path];
  });
}

const read = (path: string): string => readFileSync(`${ROOT}${path}`, 'utf8');
const rootFiles = readdirSync(ROOT, { withFileTypes: true });
const present = FOLDERS.filter((name) => rootFiles.some((entry) => entry.name === name));
const paths = [
  ...rootFiles.filter((entry) => entry.isFile()).map(({ name }) => name),
  ...present.flatMap(walk),
].filter((path) => !NOT_OURS.test(path));
const sources: readonly SourceFile[] = paths
  .filter((path) => path.endsWith('.ts') && path.includes('/'))
  .map((path) => sourceFile(path, read(path)));
const documents = paths.filter((path) => path.endsWith('.md'));

describe('the tree', () => {
  it('is read', () => {
    expect(sources.map(({ path }) => path)).toContain('test/tidy/tidy.test.ts');
  });

  it('is understood by the scanner: brackets balance once strings and comments are blanked', () => {
    const balance = (code: string): number =>
      (code.match(/[([{]/g)?.length ?? 0) - (code.match(/[)\]}]/g)?.length ?? 0);
    expect(sources.filter(({ code }) => balance(code) !== 0).map(({ path }) => path)).toEqual([]);
  });

  it('imports only downwards', () => {
    expect(checkDirections(sources)).toEqual([]);
  });

  it('has no import cycle', () => {
    expect(checkCycles(sources)).toEqual([]);
  });

  it('has no file that nothing imports', () => {
    expect(checkUnused(sources)).toEqual([]);
  });

  it('keeps files short', () => {
    expect(sources.flatMap(checkFileLength)).toEqual([]);
  });

  it('keeps lines within 100 columns', () => {
    expect(sources.flatMap(checkLineLength)).toEqual([]);
  });

  it('keeps functions short and their parameters few', () => {
    expect(sources.flatMap(checkFunctions)).toEqual([]);
  });

  it('gives every assertion a message of its own', () => {
    expect(checkAssertions(sources)).toEqual([]);
  });

  it('leaves nothing for later', () => {
    const texts = [...sources, ...documents.map((path) => ({ path, text: read(path) }))];
    expect(texts.flatMap(checkLeftOver)).toEqual([]);
  });

  it('gets time, randomness and timers handed in', () => {
    expect(sources.flatMap(checkPurity)).toEqual([]);
  });

  it('gives every document one title', () => {
    expect(documents.flatMap((path) => checkOneTitle(path, read(path)))).toEqual([]);
  });
});
