import { describe, expect, it } from 'vitest';
import { align } from '../../../lab/verify/align.ts';
import { blank } from '../../../lab/verify/blank.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { split } from '../../../lab/verify/split.ts';
import type { Check, CheckName } from '../../../lab/verify/types.ts';
import { FEATURES } from './recorded.ts';

const directoryOf = (name: string): string => `lab/recordings/${name}`;

const known = new Map<string, ReadonlyMap<CheckName, Check>>();

/** The checks of a recording by name; each recording is run once. */
function checksOf(name: string): ReadonlyMap<CheckName, Check> {
  const before = known.get(name);
  if (before !== undefined) return before;
  const { checks } = verifyRecording(directoryOf(name), runRecording);
  const byName = new Map(checks.map((check) => [check.name, check]));
  known.set(name, byName);
  return byName;
}

/** Checks with a difference. */
const differing = (checks: ReadonlyMap<CheckName, Check>): CheckName[] =>
  [...checks.values()].flatMap(({ name, equal, total }) => (equal === total ? [] : [name]));

describe.each(Object.entries(FEATURES))('%s', (name, feature) => {
  it(`shows the recorded ${feature}`, () => {
    const check = checksOf(name).get(feature);
    expect(check).toMatchObject({ firstDifference: null });
    expect(check?.equal).toBe(check?.total);
  });

  it('brings the device up as recorded', () => {
    const checks = checksOf(name);
    expect(checks.get('wire.features')).toMatchObject({ total: 7, equal: 7 });
    expect(checks.get('wire.status')).toMatchObject({ total: 5, equal: 5 });
  });

  it('gives the emulator no expectation: blanked, it leads to the same output', () => {
    const recording = readRecording(directoryOf(name));
    const alignment = align(recording);
    const { inputs } = split(recording, alignment);
    const blanked = split(blank(recording), alignment).inputs;
    expect(blanked).toEqual(inputs);
    expect(runRecording(blanked)).toEqual(runRecording(inputs));
  });
});

describe('free page reporting', () => {
  it('is equal in everything: 32, 32; 2 s later 32, 9; after the hog 32, 32; 2 s later 11', () => {
    const checks = checksOf('page-reporting-512m');
    expect(differing(checks)).toEqual([]);
    expect(checks.get('reporting')?.total).toBe(7);
    expect(checks.get('wire.buffers')?.total).toBe(8);
  });
});

describe('free page hinting', () => {
  it('is equal in buffers; a migration is not among the commands of Puff’s QMP', () => {
    const checks = checksOf('free-page-hint-512m');
    expect(checks.get('hinting')?.total).toBe(1 + 105 + 1 + 2);
    expect(checks.get('wire.buffers')).toMatchObject({ total: 110, equal: 110 });
    expect(differing(checks)).toEqual(['qmp.replies', 'qmp.events']);
  });
});

describe('a hog against an inflated balloon', () => {
  it('is given 256 pages at a time, as often as recorded but for 5 %', () => {
    const checks = checksOf('deflate-on-oom-512m');
    expect(checks.get('oom')?.total).toBeGreaterThan(145);
    const buffers = checks.get('wire.buffers');
    // All of the inflation, and the give-backs up to the last few.
    expect(buffers?.equal).toBeGreaterThan(385 + 145);
  });
});

describe('a target out of reach', () => {
  it('stops the balloon within 1 % of where it stopped, and twelve attempts 208 ms apart', () => {
    const { recording, inputs } = inputsOf('out-of-puff-256m');
    const { config, traffic } = runRecording(inputs);
    const recorded = recording.wire.flatMap((event) =>
      event.ev === 'config-set' ? [event.actual] : [],
    );
    const most = Math.max(...config);
    expect(Math.abs(most - Math.max(...recorded))).toBeLessThan(480);
    const timesMs = traffic.flatMap((item) =>
      item.kind === 'actual' && item.pages === most ? [item.timeMs] : [],
    );
    const pauses = timesMs.slice(2).map((timeMs, index) => timeMs - timesMs[index + 1]);
    expect(new Set(pauses.map((pauseMs) => Math.round(pauseMs)))).toEqual(new Set([208]));
    expect(checksOf('out-of-puff-256m').get('oom')?.total).toBe(3 + 12 - 1);
  });

  function inputsOf(name: string) {
    const recording = readRecording(directoryOf(name));
    return { recording, ...split(recording, align(recording)) };
  }
});
