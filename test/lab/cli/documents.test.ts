import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, describe, expect, test } from 'vitest';
import { makeProgram } from '../../../lab/cli/program.ts';
import { type CodeBlock, codeBlocks, documents, shellWords } from '../../support/documents.ts';
import { type Puff, puff, ROOT, Workplace } from '../../support/puff.ts';

/** Every command a document or help text shows can be given as it stands. */

interface Shown {
  readonly where: string;
  readonly words: readonly string[];
}

/** `npx puff ...` lines of code blocks; what stands two spaces behind one explains it. */
function shownIn(where: string, lines: readonly string[]): Shown[] {
  return lines
    .map((line) => /^\s*npx puff (.*?)(?:\s{2,}.*)?$/.exec(line)?.[1])
    .filter((rest) => rest !== undefined)
    .map((rest) => ({ where, words: shellWords(rest) }));
}

const FROM_DOCUMENTS = [...documents()].flatMap(([path, text]) => {
  return shownIn(
    path,
    codeBlocks(text).flatMap(({ lines }) => lines),
  );
});
const FROM_HELP = readdirSync(join(ROOT, 'lab/cli')).flatMap((name) => {
  const text = readFileSync(join(ROOT, 'lab/cli', name), 'utf8');
  return shownIn(name, text.replaceAll('`;', '').split('\n'));
});

/** What the words ask for, checked by the real parser, without doing it. */
async function parse(words: readonly string[]): Promise<{ command: string; args: string[] }> {
  const program = makeProgram('0');
  let asked = { command: '', args: [] as string[] };
  for (const command of program.commands) {
    command.configureOutput({ outputError: () => {} }).action(() => {
      asked = { command: command.name(), args: command.args };
    });
  }
  program.configureOutput({ outputError: () => {}, writeOut: () => {} });
  try {
    await program.parseAsync([...words], { from: 'user' });
  } catch (error) {
    if ((error as { exitCode?: number }).exitCode !== 0) throw error;
  }
  return asked;
}

describe('commands in documents and help', () => {
  test('are found: README, help and the end of the demo show some', () => {
    const places = new Set([...FROM_DOCUMENTS, ...FROM_HELP].map(({ where }) => where));
    const expected = ['README.md', 'host.ts', 'guest.ts', 'run.ts', 'ctl.ts', 'verify.ts'];
    expect([...places]).toEqual(expect.arrayContaining([...expected, 'show-demo.ts']));
  });

  test.each([...FROM_DOCUMENTS, ...FROM_HELP])('$where: npx puff $words', async ({ words }) => {
    const { command, args } = await parse(words);
    for (const arg of args) {
      if (command === 'verify' && !arg.includes('*')) {
        expect([join(ROOT, arg), join(ROOT, 'lab/recordings', arg)].some(existsSync)).toBe(true);
      }
      if (command === 'run') {
        const own = join(ROOT, 'lab/scenarios', `${arg}.json`);
        const isThere = arg === 'fragmentation' || [join(ROOT, arg), own].some(existsSync);
        expect(isThere).toBe(true);
      }
    }
  });

  test('mentioned in a sentence exist', () => {
    const known = [...makeProgram('0').commands.map((one) => one.name()), '--help', 'COMMAND'];
    for (const text of documents().values()) {
      for (const [, word = ''] of text.matchAll(/`(?:npx )?puff ([\w-]+)/g)) {
        expect(known).toContain(word);
      }
    }
  });

  test('a stale flag would be found', async () => {
    await expect(parse(['host', '--no-such-flag'])).rejects.toThrow('--no-such-flag');
    await expect(parse(['ctl'])).rejects.toThrow('missing required argument');
  });
});

describe('the blocks under "Run a host and guests" of the README, in order', () => {
  const place = new Workplace();
  afterAll(() => place.clear());
  const readme = documents().get('README.md') ?? '';
  const blocks = codeBlocks(readme).filter(({ heading }) => heading === 'Run a host and guests');

  test('do what they say', async () => {
    expect(blocks.length).toBeGreaterThan(3);
    const reader = new Reader(place);
    for (const block of blocks) await reader.paste(block);
    expect(reader.done).toEqual([
      ...['mkdir', 'host', 'guest', 'printf', 'ctl', 'ctl', 'ctl', 'ctl', 'ctl'],
      ...['guest', 'run', 'run', 'verify'],
    ]);
  });
});

/** Pastes commands, with a folder and a port of the test's own and a smaller fleet. */
class Reader {
  readonly done: string[] = [];
  readonly #place: Workplace;
  #url = '';

  constructor(place: Workplace) {
    this.#place = place;
  }

  async paste({ lines }: CodeBlock): Promise<void> {
    for (const line of lines) await this.#enter(line);
  }

  async #enter(line: string): Promise<void> {
    const folder = this.#place.path('puff');
    const own = line
      .replaceAll('/tmp/puff', folder)
      .replace('--listen 127.0.0.1:7420', '--listen 127.0.0.1:0')
      .replace('ws://127.0.0.1:7420', this.#url)
      .replace('--count 100', '--count 3');
    const [program = '', ...words] = shellWords(own);
    if (program === 'npx') {
      expect(words[0]).toBe('puff');
      await this.#puff(words.slice(1));
    } else if (program === 'mkdir') {
      expect(words).toEqual(['-p', folder]);
      mkdirSync(folder, { recursive: true });
    } else {
      expect(own).toMatch(/^printf '%s\\n' .* \| nc -U -q 1 \S+$/);
      await talk(
        join(folder, 'vm0.qmp'),
        [...own.matchAll(/'(\{[^']*\})'/g)].map(([, text]) => text),
      );
    }
    this.done.push(program === 'npx' ? (words[1] ?? '') : program);
  }

  async #puff(words: readonly string[]): Promise<void> {
    const [command] = words;
    if (command === 'host') {
      const host: Puff = this.#place.start(words);
      [, this.#url = ''] = await host.output(/listening on (ws:\S+)/);
    } else if (command === 'guest') {
      const guest = this.#place.start(words);
      await guest.output(/connected to/);
    } else {
      const { code, stderr } = await puff(words);
      expect([words, code, stderr]).toEqual([words, 0, '']);
    }
  }
}

/** Sends the requests to a monitor at once, as `printf | nc` does; each must be granted. */
async function talk(path: string, requests: readonly (string | undefined)[]): Promise<void> {
  const socket = createConnection(path);
  socket.write(requests.map((request) => `${request}\n`).join(''));
  let replies = 0;
  for await (const line of createInterface({ input: socket })) {
    const message = JSON.parse(line);
    expect(message).not.toHaveProperty('error');
    if ('return' in message && ++replies === requests.length) break;
  }
  expect([requests.length, replies]).toEqual([3, 3]);
  socket.destroy();
}
