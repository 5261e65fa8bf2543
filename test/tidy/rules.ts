import { functionsOf } from './functions.ts';
import { callsOf, lineOf, type SourceFile } from './scan.ts';

/** What the tree holds itself to; aimed at are 300 lines a file and 40 a function. */
const FILE_LINES = 500;
const TEST_FILE_LINES = 600;
const FUNCTION_LINES = 70;
const LINE_COLUMNS = 100;
const PARAMETERS = 4;

/** Files that may read the clock of the machine, draw real randomness and start real timers. */
const IMPURE_FILES = [
  /^shared\/lib\/real-clock\.ts$/,
  /^shared\/transport\/ws-[^/]*\.ts$/,
  /^lab\/cli\//,
  /^lab\/(?:process|fleet|settled)\.ts$/,
  /^lab\/demo\/replay\.ts$/,
  /^lab\/scenario\/runner\.ts$/,
  /^test\//,
];
const IMPURE_NAMES = /\b(?:Date\.now|Math\.random|performance\.now|process\.hrtime|new Date\(\))/g;
const IMPURE_CALLS = ['setTimeout', 'setInterval', 'setImmediate'];

/** Written apart, so that this file does not hold them. */
const LEFT_OVER = new RegExp(`\\b(?:${['TO', 'FIX'].join('DO|')}ME)\\b`, 'g');

/** Where assertions are defined and their messages are variables. */
const ASSERT_FILE = 'shared/lib/assert.ts';

const isTest = (path: string): boolean => path.startsWith('test/');

export function checkFileLength({ path, text }: SourceFile): string[] {
  const limit = isTest(path) ? TEST_FILE_LINES : FILE_LINES;
  const lineCount = text.trimEnd().split('\n').length;
  return lineCount <= limit ? [] : [`${path} has ${lineCount} lines, more than ${limit}`];
}

export function checkLineLength({ path, text }: SourceFile): string[] {
  return text.split('\n').flatMap((line, index) => {
    const columns = [...line].length;
    return columns <= LINE_COLUMNS ? [] : [`${path}:${index + 1} has ${columns} columns`];
  });
}

export function checkFunctions(file: SourceFile): string[] {
  return functionsOf(file).flatMap(({ line, lineCount, parameterCount, isSuite }) => {
    const at = `${file.path}:${line}`;
    const wrong: string[] = [];
    if (lineCount > FUNCTION_LINES && !isSuite) wrong.push(`${at} function of ${lineCount} lines`);
    if (parameterCount > PARAMETERS) wrong.push(`${at} function of ${parameterCount} parameters`);
    return wrong;
  });
}

/** Messages of assert and fail are constants, and each is a location: no two are the same. */
export function checkAssertions(files: readonly SourceFile[]): string[] {
  const wrong: string[] = [];
  const places = new Map<string, string[]>();
  for (const file of files) {
    if (isTest(file.path) || file.path === ASSERT_FILE) continue;
    const calls = [
      ...callsOf(file, 'assert').map(({ line, args }) => ({ line, message: args[1] })),
      ...callsOf(file, 'fail').map(({ line, args }) => ({ line, message: args[0] })),
    ];
    for (const { line, message } of calls) {
      const at = `${file.path}:${line}`;
      const constant = /^(['"])([^\n]*)\1$/.exec(message ?? '')?.[2];
      if (constant === undefined) wrong.push(`${at} assertion message is no constant`);
      else places.set(constant, [...(places.get(constant) ?? []), at]);
    }
  }
  for (const [message, at] of places) {
    if (at.length > 1) wrong.push(`'${message}' stands at ${at.join(' and ')}`);
  }
  return wrong;
}

export function checkLeftOver({ path, text }: { path: string; text: string }): string[] {
  return [...text.matchAll(LEFT_OVER)].map(
    ({ 0: word, index }) => `${path}:${lineOf(text, index)} ${word}`,
  );
}

/** Time, randomness and timers that were not handed in; `clock.setTimeout` was. */
export function checkPurity(file: SourceFile): string[] {
  if (IMPURE_FILES.some((impure) => impure.test(file.path))) return [];
  const named = [...file.code.matchAll(IMPURE_NAMES)].map(
    ({ 0: name, index }) => `${file.path}:${lineOf(file.code, index)} ${name}`,
  );
  const called = IMPURE_CALLS.flatMap((name) =>
    callsOf(file, name).map(({ line }) => `${file.path}:${line} ${name}`),
  );
  return [...named, ...called];
}

/** A document has one title. `#` in a code block is a comment. */
export function checkOneTitle(path: string, text: string): string[] {
  let inFence = false;
  let titles = 0;
  for (const line of text.split('\n')) {
    if (/^\s*(?:```|~~~)/.test(line)) inFence = !inFence;
    else if (!inFence && /^# /.test(line)) titles++;
  }
  return titles === 1 ? [] : [`${path} has ${titles} first-level headings`];
}
