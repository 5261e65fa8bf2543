import { describe, expect, test } from 'vitest';
import { allEqual, jsonLine, reportText, type VerifyReport } from '../../../lab/verify/report.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import type { Inputs } from '../../../lab/verify/types.ts';
import { directoryOf, echo, NAMES, recorded } from './recorded.ts';

const { alignment } = recorded('inflate-deflate-1g');

const DIFFERENT: VerifyReport = {
  recording: 'some-1g',
  alignment: { ...alignment, offsetMs: -2376.218, windowMs: [-2376.8, -2376.1] },
  checks: [
    { name: 'wire.status', total: 5, equal: 5, firstDifference: null },
    {
      name: 'qmp.replies',
      total: 24,
      equal: 10,
      firstDifference: { index: 10, expected: { return: {} }, actual: null },
    },
  ],
};

describe('a report', () => {
  test('for people has a line per check and one about the clocks', () => {
    expect(reportText(DIFFERENT)).toBe(
      [
        'some-1g  wire.status    5/5  ok',
        'some-1g  qmp.replies  10/24  item 10: recorded {"return":{}}, Puff nothing',
        'some-1g  clocks: QMP = wire + (-2376.218 ms, possible -2376.80 to -2376.10); ' +
          '21 of 21 query-balloon replies agree with the wire',
        '',
      ].join('\n'),
    );
  });

  test('cuts a long value for people and not for programs', () => {
    const long = 'x'.repeat(1000);
    const firstDifference = { index: 0, expected: long, actual: 1 };
    const [check] = DIFFERENT.checks;
    const report = { ...DIFFERENT, checks: [{ ...check, equal: 4, firstDifference }] };
    expect(reportText(report)).toMatch(/recorded "x{159}\.\.\., Puff 1\n/);
    expect(jsonLine(report)).toContain(long);
  });

  test('as JSON is one line with exactly the documented members', () => {
    const line = jsonLine(DIFFERENT);
    expect(line).not.toContain('\n');
    expect(JSON.parse(line)).toEqual({ recording: 'some-1g', checks: DIFFERENT.checks });
  });

  test('tells tasks apart where a check does, after its result', () => {
    const [check] = DIFFERENT.checks;
    const firstDifference = { index: 1, expected: 1, actual: 2 };
    const tasks = [
      { task: 'nr_hugepages', recorded: ['init-1', 'sh-7'], total: 3, equal: 2 },
      { task: 'kcompactd', recorded: [], total: 1, equal: 1 },
      { task: null, recorded: [], total: 1, equal: 0 },
    ];
    const text = (other: object): string =>
      reportText({ ...DIFFERENT, checks: [{ ...check, tasks, ...other }] });
    const counts = 'nr_hugepages (init-1, sh-7) 2/3, kcompactd 1/1, nobody known 0/1\n';
    expect(text({})).toContain(`5/5  ok; ${counts}`);
    expect(text({ equal: 4, firstDifference })).toContain(
      `4/5  item 1: recorded 1, Puff 2; ${counts}`,
    );
    const report = { ...DIFFERENT, checks: [{ ...check, tasks }] };
    expect(JSON.parse(jsonLine(report)).checks).toEqual([{ ...check, tasks }]);
  });

  test('is equal only if every item of every check is', () => {
    expect(allEqual(DIFFERENT)).toBe(false);
    expect(allEqual({ ...DIFFERENT, checks: DIFFERENT.checks.slice(0, 1) })).toBe(true);
  });
});

describe('verifyRecording', () => {
  test.each(NAMES)('%s: hands the runner the inputs and compares what it did', (name) => {
    let given: Inputs | undefined;
    const report = verifyRecording(directoryOf(name), (inputs) => {
      given = inputs;
      return echo(recorded(name).expectations);
    });
    expect(given).toEqual(recorded(name).inputs);
    expect(report.recording).toBe(name);
    expect(allEqual(report)).toBe(true);
  });

  test('finds an emulator that does nothing different in every item that was recorded', () => {
    const report = verifyRecording(directoryOf('stats-512m'), () => ({
      features: 0n,
      status: [],
      buffers: [],
      config: [],
      qmp: [],
      traffic: [],
    }));
    const counts = report.checks.map(({ equal, total }) => [equal, total]);
    expect(counts).toEqual([
      [5, 7],
      [0, 5],
      [0, 139],
      [0, 128],
      [0, 1],
      [0, 20],
      [0, 2],
    ]);
  });
});
