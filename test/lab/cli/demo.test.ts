import { mkdirSync, readdirSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { isAlive, Workplace } from '../../support/puff.ts';

const place = new Workplace();
afterAll(() => place.clear());

function demo(name: string) {
  const temporary = place.path(name);
  mkdirSync(temporary);
  return { process: place.start(['demo'], { env: { TMPDIR: temporary } }), temporary };
}

describe.concurrent('puff demo', () => {
  test('shows that all is equal and where to go next; exit 0', async () => {
    const { process, temporary } = demo('whole');
    const { code, stdout, stderr } = await process.ended;
    expect([code, stderr]).toEqual([0, '']);
    const judged = stdout.match(/^.* (?:equal|DIFFERENT)$/gm) ?? [];
    expect(judged).toHaveLength(6);
    for (const row of judged) expect(row).toMatch(/ equal$/);
    expect(stdout).toMatch(/cut with \d+ of 917504 pages in the balloon\n/);
    expect(stdout).toMatch(
      /the guest's list has 917504 pages, the host's ledger 917504; frame by frame equal\n/,
    );
    expect(stdout).toContain('hands out 54373 of 54373 page frames as recorded.\n');
    expect(stdout).toContain('   oom notifier waits to: take balloon_lock\n');
    expect(stdout).toContain('Where to go next:\n  npx puff ');
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('Ctrl-C: the processes are ended, their folder is gone, exit 130', async () => {
    const { process, temporary } = demo('stopped');
    await process.output(/vm0: balloon +\d+%/);
    const { code, stdout, stderr } = await process.end('SIGINT');
    expect([code, stderr]).toEqual([130, '']);
    expect(readdirSync(temporary)).toEqual([]);
    const [, ...pids] = /host is process (\d+), vm0 (\d+), vm1 (\d+);/.exec(stdout) ?? [];
    expect(pids.map((pid) => isAlive(Number(pid)))).toEqual([false, false, false]);
  });
});
