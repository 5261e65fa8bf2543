import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readPackedText } from '../../../lab/packed-file.ts';
import { toldPages } from '../../../lab/verify/allocator-run.ts';
import { LineClient } from '../../../shared/control/line-client.ts';
import type { GuestDump } from '../../../shared/control/schemas.ts';
import { puff, ROOT, Workplace } from '../../support/puff.ts';

/** `--image`: guests that boot from a recorded state of memory, as their users start them. */
const place = new Workplace();
const RECORDING = join(ROOT, 'lab/recordings/exact-inflate-512m');
const IMAGE = join(RECORDING, 'freelists-before.json.gz');
const TRACE = join(RECORDING, 'kmem-trace.txt.gz');
const hostControl = place.path('host.ctl');
let url = '';

beforeAll(async () => {
  ({ url } = await place.host(['--control', hostControl]));
});

afterAll(() => place.clear());

describe.concurrent('puff guest --image', () => {
  test('tells the first pages of its balloon as the recorded guest did', async () => {
    const path = place.path('image.ctl');
    const flags = ['--connect', url, '--id', 'image', '--image', IMAGE, '--workload', 'none'];
    const guest = place.start(['guest', ...flags, '--control', path]);
    await guest.output(/connected/);
    const [host, control] = await Promise.all([hostControl, path].map(LineClient.connect));
    if (host === undefined || control === undefined) throw new Error('not connected');
    const list = await host.request<readonly { id: string; ramBytes: number }[]>({ verb: 'list' });
    expect(list.find(({ id }) => id === 'image')?.ramBytes).toBe(512 * 2 ** 20);
    const lines = readPackedText(join(RECORDING, 'wire.jsonl.gz')).trim().split('\n');
    const [first] = toldPages(lines.map((line) => JSON.parse(line)));
    expect(first?.pfns).toHaveLength(256);
    const fresh = await control.request<GuestDump>({ verb: 'dump' });
    expect(fresh.freeBlocks).toEqual([6, 4, 6, 6, 7, 8, 8, 8, 6, 2, 76]);
    const bytes = 511 * 2 ** 20;
    await host.request({ verb: 'balloon', guest: 'image', bytes });
    const { pfns } = await until(control, ({ listPages }) => listPages === 256);
    expect(pfns).toEqual(first?.pfns);
    host.close();
    control.close();
    expect((await guest.end()).code).toBe(0);
  });

  test('and --kmem-trace: plays what was recorded after the image', async () => {
    const flags = ['--image', IMAGE, '--kmem-trace', TRACE, '--workload', 'none'];
    const guest = place.start(['guest', '--connect', url, '--id', 'trace', ...flags]);
    const [line] = await guest.output(/puff guest trace: trace played: .*\n/);
    const had = '101 allocations, 48 with the recorded frame, 0 failed';
    expect(line).toBe(`puff guest trace: trace played: ${had}; 101 frees, 0 of nothing\n`);
    expect((await guest.end()).code).toBe(0);
  });

  const bad = place.path('bad.gz');
  writeFileSync(bad, gzipSync('{"zones":[]}'));
  test.each([
    [['--image', place.path('none')], /^puff: .*none: no such file\n$/],
    [['--image', join(RECORDING, 'meta.json')], /^puff: .*meta\.json: is not gzip\n$/],
    [['--image', bad], /^puff: .*bad\.gz: zones: .*; pageblock_migratetype: is missing\n$/],
    [['--kmem-trace', TRACE], /^puff: --kmem-trace needs --image: what came before it\n$/],
    [
      ['--image', IMAGE, '--kmem-trace', IMAGE],
      /^puff: .*freelists-before\.json\.gz: has no requests between DUMP-before and DUMP-after\n$/,
    ],
    [['--image', IMAGE, '--memory', '1G'], /^puff: .*: is of a guest of 512M, not 1G; use 512M/],
  ])('%j: one line, exit 2', async (flags, message) => {
    const { code, stdout, stderr } = await puff(['guest', '--connect', url, ...flags]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
  });
});

describe('an image in a scenario', () => {
  const folder = place.path('scenarios');
  mkdirSync(folder);

  function scenario(image: string): string {
    const path = join(folder, 'image.json');
    const guest = { id: 'vm0', image, workload: 'none' };
    const steps = [
      { do: 'balloon', guest: 'vm0', size: '300M' },
      { do: 'settle', guest: 'vm0' },
      { do: 'check', guest: 'vm0', balloonSize: '212M' },
    ];
    writeFileSync(path, JSON.stringify({ name: 'image', guests: [guest], steps }));
    return path;
  }

  test('is named from the folder of the scenario; memory is the image’s', async () => {
    writeFileSync(join(folder, 'state.json.gz'), gzipSync(readPackedText(IMAGE)));
    const { code, stdout, stderr } = await puff(['run', scenario('state.json.gz')]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toContain('54272 pages');
  });

  test('that is not there: the guest’s line, exit 2', async () => {
    const { code, stderr } = await puff(['run', scenario('none.json.gz')]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^puff: .*scenarios\/none\.json\.gz: no such file\n$/);
  });
});

async function until(control: LineClient, done: (dump: GuestDump) => boolean): Promise<GuestDump> {
  for (;;) {
    const dump = await control.request<GuestDump>({ verb: 'dump', pfns: true });
    if (done(dump)) return dump;
    await new Promise(setImmediate);
  }
}
