import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { LineClient } from '../../../shared/control/line-client.ts';
import { type Ended, isAlive, type Puff, Workplace } from '../../support/puff.ts';

/** `puff run` with real processes; each run has a folder of its own for temporary files. */
const place = new Workplace();
afterAll(() => place.clear());

let runs = 0;

function run(
  scenario: string,
  ...flags: readonly string[]
): { readonly process: Puff; readonly temporary: string } {
  const temporary = place.path(`tmp-${++runs}`);
  mkdirSync(temporary);
  const process = place.start(['run', scenario, ...flags], { env: { TMPDIR: temporary } });
  return { process, temporary };
}

/** Runs a scenario to its end; no folder of it may be left. */
async function ended(scenario: string, ...flags: readonly string[]): Promise<Ended> {
  const { process, temporary } = run(scenario, ...flags);
  const end = await process.ended;
  expect(readdirSync(temporary)).toEqual([]);
  return end;
}

function write(name: string, steps: readonly object[], more: object = {}): string {
  const path = place.path(`${name}.json`);
  const guests = [{ id: 'vm0', memory: '64M', workload: 'none' }];
  writeFileSync(path, JSON.stringify({ name, guests, steps, ...more }));
  return path;
}

describe.concurrent('the scenarios that come with Puff', () => {
  test('inflate-deflate: a line a step, plain progress, exit 0', async () => {
    const { code, stdout, stderr } = await ended('inflate-deflate');
    expect([code, stderr]).toEqual([0, '']);
    const lines = stdout.trim().split('\n');
    expect(lines[0]).toBe('scenario inflate-deflate, seed 1');
    expect(lines[1]).toMatch(/^host is process \d+, vm0 \d+; files in \//);
    expect(lines.at(-1)).toBe('scenario inflate-deflate, seed 1: all 11 steps as expected');
    expect(lines).toContain('3/11 check vm0 ledger and list hold the same 131072 pages');
    expect(stdout).toMatch(/^2\/11 settle vm0 100% 512M$/m);
    expect(stdout).not.toContain('\r');
  });

  test.each(['cut', 'oom'])('%s: exit 0', async (name) => {
    const { code, stdout, stderr } = await ended(name);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/: all 5 steps as expected\n$/);
  });
});

describe.concurrent('fragmentation', () => {
  test('maps before and after, and huge pages regained only where balloon pages move', async () => {
    const { code, stdout, stderr } = await ended('fragmentation', '--memory', '256M');
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toContain('\x1b');
    const maps = stdout.match(/^ *0M R[.,\w]+$/gm) ?? [];
    expect(maps).toHaveLength(4);
    const regained = [...stdout.matchAll(/^Blocks of 2 MiB regained: (-?\d+);/gm)].map(([, n]) =>
      Number(n),
    );
    const [movable, off] = regained;
    expect(regained).toHaveLength(2);
    expect(movable).toBeGreaterThan(20);
    expect(off).toBeLessThan(movable / 2);
    expect(stdout).toMatch(/^off: compaction moved \d+ pages, 0 of the 25600 of the balloon/m);
  });

  test.each([
    [['fragmentation', '--memory', '128M'], /^puff: fragmentation needs 256M or more\n$/],
    [['cut', '--memory', '1G'], /^puff: --memory and --balloon-compaction are for frag/],
    [['fragmentation', '--balloon-compaction', 'no'], /^puff: .*one of movable, v2012, off/],
  ])('%j is refused, exit 2', async (words, message) => {
    const [name = '', ...flags] = words;
    const { code, stderr } = await ended(name, ...flags);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe.concurrent('a step that fails: one line with its place, exit 1', () => {
  test('a check', async () => {
    const cut = { do: 'cut', guest: 'vm0' };
    const check = { do: 'check', guest: 'vm0', balloonSize: '4M' };
    const { code, stdout, stderr } = await ended(write('fails', [cut, check]));
    expect(code).toBe(1);
    expect(stderr).toBe('puff: step 2/2 check vm0: the balloon holds 0B, expected 4M\n');
    expect(stdout).toMatch(/1\/2 cut vm0 connection\n$/);
  });

  test('a guest that was powered off', async () => {
    const steps = [
      { do: 'qmp', guest: 'vm0', execute: 'quit' },
      { do: 'settle', guest: 'vm0' },
    ];
    const { code, stderr } = await ended(write('off', steps));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^puff: step 2\/2 settle vm0: [^\n]+\n$/);
  });
});

describe.concurrent('exit 2', () => {
  test('the host does not start: its own line is told', async () => {
    const deep = place.path('d'.repeat(90));
    mkdirSync(deep);
    const process = place.start(['run', 'oom'], { env: { TMPDIR: deep } });
    const { code, stderr } = await process.ended;
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /^puff: puff host ended with code 2: [^\n]*MAX_SOCKET_PATH_BYTES[^\n]*\n$/,
    );
    expect(readdirSync(deep)).toEqual([]);
  });

  test('no folder for temporary files', async () => {
    const missing = place.path('missing');
    const process = place.start(['run', 'oom'], { env: { TMPDIR: missing } });
    const { code, stderr } = await process.ended;
    expect(code).toBe(2);
    expect(stderr).toMatch(/^puff: ENOENT: no such file or directory, [^\n]+\n$/);
  });
});

describe.concurrent('ended from outside', () => {
  const LONG = [{ do: 'sleep', seconds: 3600 }];

  /** A run in the middle of its long step, with its processes' ids and their folder. */
  async function running(name: string, steps: readonly object[]) {
    const { process, temporary } = run(write(name, steps));
    const about = /host is process (\d+), vm0 (\d+); files in (\S+)\n/;
    const [, host, guest, files = ''] = await process.output(about);
    const controls = await Promise.all(
      ['host.ctl', 'vm0.ctl'].map((file) => LineClient.connect(join(files, file))),
    );
    return { process, temporary, pids: [Number(host), Number(guest)], controls };
  }

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s: all processes are ended, the folder is gone, exit %i', async (signal, exit) => {
    const { process, temporary, pids, controls } = await running(signal, LONG);
    const { code, stdout, stderr } = await process.end(signal);
    expect([code, stderr]).toEqual([exit, '']);
    expect(stdout).not.toContain('as expected');
    expect(pids.map(isAlive)).toEqual([false, false]);
    expect(readdirSync(temporary)).toEqual([]);
    for (const control of controls) control.close();
  });

  test('Ctrl-C while a balloon moves', async () => {
    const steps = [
      { do: 'balloon', guest: 'vm0', size: '1G' },
      { do: 'settle', guest: 'vm0' },
    ];
    const more = { guests: [{ id: 'vm0', memory: '16G', workload: 'none' }] };
    const { process, temporary } = run(write('moving', steps, more));
    await process.output(/settle vm0 +\d+%/);
    const { code, stderr } = await process.end('SIGINT');
    expect([code, stderr]).toEqual([130, '']);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('Ctrl-C while processes start', async () => {
    const { process, temporary } = run(write('starting', LONG));
    await process.output(/scenario starting/);
    const { code, stderr } = await process.end('SIGINT');
    expect([code, stderr]).toEqual([130, '']);
    expect(readdirSync(temporary)).toEqual([]);
  });

  test('SIGKILL: host and guest notice, take leave and end by themselves', async () => {
    const { process, pids, controls, temporary } = await running('killed', LONG);
    const closed = controls.map((control) => control.request({ verb: 'dump', guest: 'none' }));
    await Promise.allSettled(closed);
    expect(pids.map(isAlive)).toEqual([true, true]);
    await process.end('SIGKILL');
    // Nobody is left who could tell of their end: they are orphans.
    await vi.waitFor(() => expect(pids.map(isAlive)).toEqual([false, false]), 60_000);
    const [files = ''] = readdirSync(temporary);
    const sockets = ['host.ctl', 'vm0.ctl', 'vm0.qmp'].map((file) => join(temporary, files, file));
    expect(sockets.filter((path) => existsSync(path))).toEqual([]);
    for (const control of controls) control.close();
  });
});
