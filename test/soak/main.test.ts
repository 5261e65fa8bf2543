import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../support/puff.ts';

const MAIN = join(ROOT, 'dist/test/soak/main.js');

function soak(args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
}

describe('npm run soak', () => {
  it.each([
    [[], 'name a run'],
    [['swim'], "no run 'swim'"],
    [['--rounds', '3'], "unknown option '--rounds'"],
    [['peers', '--rounds', 'x'], 'write a whole number from 1 to 10000'],
    [['many', '--guests'], 'argument missing'],
    [['fuzz', 'all'], 'too many arguments'],
  ])('%j: one line of what is right, exit 2', (args, reason) => {
    const { status, stdout, stderr } = soak(args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^soak: [^\n]+ \(peers \[--rounds N\], many [^\n]+\)\n$/);
    expect(stderr).toContain(reason);
  });

  it('--help: exit 0', () => {
    const { status, stdout } = soak(['--help']);
    expect(status).toBe(0);
    for (const name of ['peers', 'many', 'fuzz'])
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
  });
});
