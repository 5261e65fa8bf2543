import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './puff.ts';

/** What documents show as code, so that tests can do what a reader would. */
export interface CodeBlock {
  readonly language: string;
  readonly lines: readonly string[];
  /** The heading it stands under. */
  readonly heading: string;
}

/** README.md, CHANGELOG.md and everything in docs, by path in the repository. */
export function documents(): ReadonlyMap<string, string> {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  const paths = ['README.md', 'CHANGELOG.md', ...docs.map((name) => `docs/${name}`)];
  return new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), 'utf8')]));
}

/** The fenced blocks of a document, in order. */
export function codeBlocks(text: string): CodeBlock[] {
  const blocks: { language: string; lines: string[]; heading: string }[] = [];
  let heading = '';
  let isInside = false;
  for (const line of text.split('\n')) {
    const fence = /^```(\S*)$/.exec(line);
    if (fence) {
      isInside = !isInside;
      if (isInside) blocks.push({ language: fence[1] ?? '', lines: [], heading });
    } else if (isInside) {
      blocks.at(-1)?.lines.push(line);
    } else {
      heading = /^#+ (.*)$/.exec(line)?.[1] ?? heading;
    }
  }
  return blocks;
}

/** Words of a command line as a shell makes them of plain text and single quotes. */
export function shellWords(line: string): string[] {
  const words = line.match(/(?:'[^']*'|[^\s'])+/g) ?? [];
  return words.map((word) => word.replaceAll("'", ''));
}
