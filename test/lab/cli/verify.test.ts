import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { Puff, puff, ROOT, Workplace } from '../../support/puff.ts';

const place = new Workplace();
afterAll(() => place.clear());

const RECORDINGS = join(ROOT, 'lab/recordings');
const CHECKS = [
  'wire.features',
  'wire.status',
  'wire.buffers',
  'wire.config',
  'wire.targets',
  'qmp.replies',
  'qmp.events',
];

interface Line {
  readonly recording: string;
  readonly checks: readonly {
    readonly name: string;
    readonly total: number;
    readonly equal: number;
    readonly firstDifference: unknown;
  }[];
}

/** A copy of a recording, to be spoiled. */
function copy(name: string, as: string): string {
  const to = place.path(as);
  cpSync(join(RECORDINGS, name), to, { recursive: true });
  return to;
}

describe.concurrent('puff verify', () => {
  test('exit 0 when all is equal: a line per check, with the counts', async () => {
    const directories = ['inflate-deflate-1g', 'stats-512m'].map((name) => join(RECORDINGS, name));
    const { code, stdout, stderr } = await puff(['verify', ...directories]);
    expect([code, stderr]).toEqual([0, '']);
    for (const name of ['inflate-deflate-1g', 'stats-512m']) {
      for (const check of CHECKS) {
        expect(stdout).toMatch(new RegExp(`^${name}  ${check.padEnd(13)} +(\\d+)/\\1  ok$`, 'm'));
      }
    }
  });

  test('--json: one object per recording, one per line; Puff’s own go by name', async () => {
    const names = ['stats-512m', 'qmp-errors-512m'];
    const { code, stdout } = await puff(['verify', '--json', ...names], { cwd: place.directory });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^(?:\{[^\n]*\}\n){2}$/);
    const lines = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    expect(lines.map(({ recording }) => recording)).toEqual(names);
    for (const { checks } of lines) {
      expect(checks.map(({ name }) => name)).toEqual(CHECKS);
      for (const check of checks) {
        expect(Object.keys(check)).toEqual(['name', 'total', 'equal', 'firstDifference']);
        expect(check.total).toBeGreaterThan(0);
        expect([check.equal, check.firstDifference]).toEqual([check.total, null]);
      }
    }
  });

  test('exit 1 on a difference in what the guest did, which is shown', async () => {
    const spoiled = copy('stats-512m', 'other-actual');
    const path = join(spoiled, 'wire.jsonl.gz');
    const wire = gunzipSync(readFileSync(path)).toString();
    const changed = wire.replace(/"ev":"config-set"(.*?)"actual":256\b/, (text) => {
      return text.replace('256', '255');
    });
    expect(changed).not.toBe(wire);
    writeFileSync(path, gzipSync(changed));
    const text = await puff(['verify', spoiled]);
    expect([text.code, text.stderr]).toEqual([1, '']);
    expect(text.stdout).toMatch(/wire\.config +127\/128 +item 0: recorded .*255.*, Puff .*256/);

    const { code, stdout } = await puff(['verify', '--json', spoiled, 'stats-512m']);
    expect(code).toBe(1);
    const [first, second] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    const wrong = first?.checks.filter(({ total, equal }) => total !== equal);
    expect(wrong).toContainEqual({
      name: 'wire.config',
      total: 128,
      equal: 127,
      firstDifference: { index: 0, expected: expect.anything(), actual: expect.anything() },
    });
    expect(second?.checks.every(({ total, equal }) => total === equal)).toBe(true);
  });

  test('exit 1 on a difference in what QEMU answered', async () => {
    const spoiled = copy('stats-512m', 'other-reply');
    const path = join(spoiled, 'qmp.jsonl');
    const qmp = readFileSync(path, 'utf8');
    const changed = qmp.replace('"msg": {"return": 0}', '"msg": {"return": 7}');
    expect(changed).not.toBe(qmp);
    writeFileSync(path, changed);
    const meta = JSON.parse(readFileSync(join(spoiled, 'meta.json'), 'utf8'));
    const name = 'evil\u001b[2J\u009b';
    writeFileSync(join(spoiled, 'meta.json'), JSON.stringify({ ...meta, name }));
    const { code, stdout } = await puff(['verify', spoiled]);
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /^evil\\u001b\[2J\\u009b {2}qmp\.replies +19\/20 +item \d+: recorded .*7.*, Puff .*0/m,
    );
  });

  test.each([
    ['meta.json', 'meta.json: no such file'],
    ['qmp.jsonl', 'qmp.jsonl: no such file'],
    ['wire.jsonl.gz', 'wire.jsonl.gz: no such file'],
  ])('exit 2 without %s: one line', async (file, expected) => {
    const spoiled = copy('stats-512m', `without-${file}`);
    rmSync(join(spoiled, file));
    const { code, stdout, stderr } = await puff(['verify', spoiled]);
    expect([code, stdout, stderr]).toEqual([2, '', `puff: ${spoiled}/${expected}\n`]);
  });

  test('exit 2 for a file that is none: one line that names it', async () => {
    const spoiled = copy('stats-512m', 'no-gzip');
    writeFileSync(join(spoiled, 'wire.jsonl.gz'), '{}');
    const { code, stderr } = await puff(['verify', spoiled]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^puff: [^\n]*no-gzip\/wire\.jsonl\.gz: [^\n]+\n$/);
  });

  test('a reader that hangs up is no reason to complain', async () => {
    const running = new Puff(['verify', '--json', 'stats-512m', 'inflate-deflate-1g']);
    running.child.stdout?.destroy();
    const { code, stderr } = await running.ended;
    expect([code, stderr]).toEqual([0, '']);
  });
});
