import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { align } from '../../../lab/verify/align.ts';
import { blank } from '../../../lab/verify/blank.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { split } from '../../../lab/verify/split.ts';
import { COMPACTED, COUNTED, FEATURES } from './recorded.ts';

// What a real Linux 6.1 under a real QEMU 7.2 did, item by item. Nothing here has a tolerance.
const NAMES = ['inflate-deflate-1g', 'stats-512m', 'qmp-errors-512m', 'driver-rebind-1g'];
// These hold every allocation and free and both free-list dumps as well.
const EXACT = ['exact-inflate-512m', 'exact-workload-512m', 'exact-pressure-512m'];

describe.each([...NAMES, ...EXACT])('%s', (name) => {
  const directory = `lab/recordings/${name}`;

  it('is what Puff does, item by item', () => {
    const { checks } = verifyRecording(directory, runRecording);
    expect(checks.filter((check) => check.firstDifference !== null)).toEqual([]);
    expect(checks.every((check) => check.equal === check.total)).toBe(true);
    expect(checks.reduce((sum, check) => sum + check.total, 0)).toBeGreaterThan(200);
  });

  it('gives the emulator no expectation: blanked, it leads to the same output', () => {
    const recording = readRecording(directory);
    const alignment = align(recording);
    const { inputs } = split(recording, alignment);
    const blanked = split(blank(recording), alignment).inputs;
    expect(runRecording(blanked)).toEqual(runRecording(inputs));
  });
});

it.each([
  ['exact-inflate-512m', 54_373, 108_544],
  ['exact-workload-512m', 69_914, 93_184],
  ['exact-pressure-512m', 108_221, 46_592],
])('%s: every frame handed out is the recorded one', (name, allocations, told) => {
  const { checks } = verifyRecording(`lab/recordings/${name}`, runRecording);
  const totals = Object.fromEntries(checks.map((check) => [check.name, check.total]));
  expect(totals).toMatchObject({ 'allocator.pfn': allocations, 'wire.pfns': told });
});

it('covers every recording that comes with Puff', () => {
  const folders = readdirSync('lab/recordings');
  const known = [...NAMES, ...EXACT, ...COMPACTED, ...COUNTED, ...Object.keys(FEATURES)];
  expect(folders.sort()).toEqual(known.sort());
});
