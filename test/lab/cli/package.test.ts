import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { codeBlocks, documents } from '../../support/documents.ts';
import { ROOT, Workplace } from '../../support/puff.ts';

/** The tarball as `npm pack` makes it, and its installation in an empty folder. */
const place = new Workplace();
const home = place.path('empty');
const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
let packed: { readonly filename: string; readonly files: readonly { readonly path: string }[] };

beforeAll(async () => {
  // Built already; `prepare` would build under the feet of other tests.
  const flags = ['--ignore-scripts', '--json', '--pack-destination', place.directory];
  const { code, stdout } = await run('npm', ['pack', ...flags], ROOT);
  expect(code).toBe(0);
  [packed] = JSON.parse(stdout);
});

afterAll(() => place.clear());

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(command: string, args: readonly string[], cwd: string): Promise<Ran> {
  // What `npm test` tells its children would make an npm of theirs work on this repository.
  const own = Object.entries(process.env).filter(([name]) => !/^(?:npm_|INIT_CWD)/.test(name));
  const options = { cwd, env: Object.fromEntries(own), maxBuffer: 2 ** 24 };
  return new Promise((resolve) => {
    execFile(command, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr });
    });
  });
}

describe('the tarball', () => {
  test('has the command, the library with its types, recordings and scenarios', () => {
    const paths = packed.files.map(({ path }) => path);
    expect(paths).toEqual(
      expect.arrayContaining([
        ...['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs/PROTOCOL.md'],
        ...['dist/lab/cli/main.js', 'dist/lab/index.js', 'dist/lab/index.d.ts'],
        ...['lab/scenarios/cut.json', 'lab/recordings/inflate-deflate-1g/wire.jsonl.gz'],
      ]),
    );
  });

  test('has no source, no source map and no state of the compiler', () => {
    const sources = /^(?!.*\.d\.ts$).*\.ts$|\.map$|\.tsbuildinfo$/;
    expect(packed.files.filter(({ path }) => sources.test(path))).toEqual([]);
  });
});

describe('installed in an empty folder', () => {
  /** Once, by the first test. Without a registry and a cache of npm's there is nothing to see. */
  let installation: Promise<Ran> | undefined;

  async function install(context: TestContext): Promise<void> {
    installation ??= (async () => {
      mkdirSync(home);
      const flags = ['--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'];
      return run('npm', ['install', ...flags, join(place.directory, packed.filename)], home);
    })();
    const { code, stderr } = await installation;
    const unreachable = /ENOTCACHED|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT/;
    if (code !== 0 && unreachable.test(stderr)) context.skip('no npm registry');
    expect([code, stderr]).toEqual([0, expect.any(String)]);
  }

  test('npx puff --version', async (context) => {
    await install(context);
    const { code, stdout } = await run('npx', ['--no-install', 'puff', '--version'], home);
    expect([code, stdout]).toEqual([0, `${manifest.version}\n`]);
  });

  test('recordings and scenarios are found from there', async (context) => {
    await install(context);
    const main = join(home, 'node_modules/.bin/puff');
    const verified = await run(main, ['verify', '--json', 'stats-512m'], home);
    expect([verified.code, verified.stderr]).toEqual([0, '']);
    const named = await run(main, ['run', 'nope'], home);
    expect(named.stderr).toContain("Puff's own are cut, inflate-deflate, oom");
  });

  test('the README’s example has the right types', async (context) => {
    await install(context);
    const [example] = codeBlocks(documents().get('README.md') ?? '').filter((block) => {
      return block.language === 'ts';
    });
    writeFileSync(join(home, 'example.mts'), example?.lines.join('\n') ?? '');
    symlinkSync(join(ROOT, 'node_modules/vitest'), join(home, 'node_modules/vitest'));
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules/@types')];
    const strict = ['--noEmit', '--strict', '--skipLibCheck', '--target', 'es2023'];
    const tsc = join(ROOT, 'node_modules/.bin/tsc');
    const args = [...strict, '--module', 'nodenext', ...types, 'example.mts'];
    expect(await run(tsc, args, home)).toMatchObject({ code: 0, stdout: '' });
  });
});
