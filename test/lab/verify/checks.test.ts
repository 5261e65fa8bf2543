import { describe, expect, test } from 'vitest';
import { runChecks } from '../../../lab/verify/checks.ts';
import type { Traffic } from '../../../lab/verify/traffic.ts';
import type { Check, CheckName, Expectations, Observed } from '../../../lab/verify/types.ts';
import { CHECK_NAMES } from '../../../lab/verify/types.ts';
import { echo, NAMES, recorded } from './recorded.ts';

/** A short exchange written by hand: one inflation, stop and a query without an answer. */
const EXPECTED: Expectations = {
  features: (1n << 1n) | (1n << 29n) | (1n << 32n) | (1n << 40n),
  status: [0, 1, 3, 11, 15],
  buffers: [
    { queue: 'stats', count: 0, length: null },
    { queue: 'inflate', count: 256, length: 0 },
    { queue: 'deflate', count: 90, length: 0 },
  ],
  config: [256, 166],
  replies: [
    { request: 0, command: 'qmp_capabilities', message: { return: {} } },
    { request: 1, command: 'query-balloon', message: { return: { actual: 4096 }, id: [7] } },
    { request: 2, command: 'stop', message: { return: {} } },
  ],
  events: [
    { name: 'BALLOON_CHANGE', data: { actual: 4096 }, beforeReplyTo: undefined },
    { name: 'STOP', data: undefined, beforeReplyTo: 2 },
  ],
  unanswered: [3],
  traffic: [{ kind: 'target', timeMs: 0, pages: 256 }],
};

const OBSERVED: Observed = {
  features: (1n << 1n) | (1n << 32n),
  status: [0, 0, 1, 3, 11, 15, 15],
  buffers: [
    { queue: 'stats', count: 10, length: null },
    { queue: 'inflate', count: 256, length: 0 },
    { queue: 'deflate', count: 90, length: 0 },
  ],
  config: [256, 166],
  qmp: [
    { request: -1, message: { QMP: { version: {}, capabilities: ['oob'] } } },
    { request: 0, message: { return: {} } },
    { request: 0, message: { timestamp: {}, event: 'BALLOON_CHANGE', data: { actual: 4096 } } },
    { request: 1, message: { id: [7], return: { actual: 4096 } } },
    { request: 2, message: { event: 'STOP', timestamp: {} } },
    { request: 2, message: { return: {} } },
    { request: 3, message: { return: [{ name: 'quit' }] } },
  ],
  traffic: [{ kind: 'target', timeMs: 0, pages: 256 }],
};

function check(name: CheckName, change: Partial<Observed>, expected = EXPECTED): Check {
  const checks = runChecks(expected, { ...OBSERVED, ...change });
  for (const other of checks) {
    if (other.name !== name) expect(other).toMatchObject({ firstDifference: null });
  }
  return checks.find((candidate) => candidate.name === name) as Check;
}

/** The observed messages with one replaced, or left out if `message` is undefined. */
function qmpWith(index: number, message?: Observed['qmp'][number]['message']): Observed['qmp'] {
  return OBSERVED.qmp.flatMap((item, at) => {
    if (at !== index) return [item];
    return message === undefined ? [] : [{ ...item, message }];
  });
}

describe('all equal', () => {
  test('each check counts its items and has no difference', () => {
    expect(runChecks(EXPECTED, OBSERVED)).toEqual(
      [7, 5, 3, 2, 1, 3, 2].map((count, index) => ({
        name: CHECK_NAMES[index],
        total: count,
        equal: count,
        firstDifference: null,
      })),
    );
  });
});

describe('wire.features', () => {
  test('looks at bits 0 to 5 and 32 and not at bits of the ring', () => {
    expect(check('wire.features', { features: (1n << 32n) | (1n << 28n) })).toMatchObject({
      total: 7,
      equal: 6,
      firstDifference: {
        index: 1,
        expected: { bit: 1, set: true },
        actual: { bit: 1, set: false },
      },
    });
    expect(check('wire.features', { features: OBSERVED.features & 7n })).toMatchObject({
      equal: 6,
      firstDifference: { index: 6, expected: { bit: 32 } },
    });
  });
});

describe('wire.status', () => {
  test('a value too many, too few, and another one', () => {
    const of = (...status: number[]): Check => check('wire.status', { status });
    expect(of(0, 1, 3, 11, 15, 0)).toMatchObject({
      total: 6,
      equal: 5,
      firstDifference: { index: 5, expected: null, actual: 0 },
    });
    expect(of(0, 1, 3, 11)).toMatchObject({
      total: 5,
      equal: 4,
      firstDifference: { index: 4, expected: 15, actual: null },
    });
    expect(of(0, 1, 3, 7, 15)).toMatchObject({ total: 5, equal: 4, firstDifference: { index: 3 } });
    expect(of()).toMatchObject({ total: 5, equal: 0 });
  });

  test('begins with the last zero before the first 1', () => {
    expect(check('wire.status', { status: [15, 0, 1, 3, 11, 15] }).firstDifference).toBeNull();
  });
});

describe('wire.buffers', () => {
  const [statistics, inflate, deflate] = OBSERVED.buffers;
  const of = (...buffers: Observed['buffers'][number][]): Check =>
    check('wire.buffers', { buffers });

  test('count, length and queue of each', () => {
    const wrong = [
      { ...inflate, count: 255 },
      { ...inflate, length: 4 },
      { ...inflate, length: null },
    ];
    for (const buffer of wrong) {
      expect(of(statistics, buffer, deflate)).toMatchObject({
        total: 3,
        equal: 2,
        firstDifference: { index: 1, expected: inflate, actual: buffer },
      });
    }
    expect(of(statistics, { ...inflate, queue: 'deflate' }, deflate).equal).toBe(2);
  });

  test('of statistics the length and not the count', () => {
    expect(of({ ...statistics, count: 16 }, inflate, deflate).equal).toBe(3);
    expect(of({ ...statistics, length: 0 }, inflate, deflate).equal).toBe(2);
  });

  test('swapped, missing and surplus buffers', () => {
    expect(of(statistics, deflate, inflate)).toMatchObject({ total: 3, equal: 1 });
    expect(of(statistics, deflate)).toMatchObject({ total: 3, equal: 1 });
    expect(of(statistics, inflate, deflate, deflate)).toMatchObject({
      total: 4,
      equal: 3,
      firstDifference: { index: 3, expected: null, actual: deflate },
    });
  });
});

describe('wire.targets', () => {
  const target = (pages: number): Traffic => ({ kind: 'target', timeMs: pages, pages });
  const compared = (recorded: readonly number[], puffs: readonly number[]): Check => {
    const expected = { ...EXPECTED, traffic: recorded.map(target) };
    return check('wire.targets', { traffic: puffs.map(target) }, expected);
  };

  test('compares every size that the host wanted, in order', () => {
    expect(compared([256, 0], [256, 0])).toMatchObject({ total: 2, equal: 2 });
    expect(compared([256, 0], [257])).toMatchObject({
      ...{ total: 2, equal: 0 },
      firstDifference: { index: 0, expected: 256, actual: 257 },
    });
  });

  test('leaves out what the host wants already', () => {
    expect(compared([0, 256, 256], [256])).toMatchObject({ total: 1, equal: 1 });
  });
});

describe('wire.config', () => {
  test('each value in order', () => {
    expect(check('wire.config', { config: [166, 256] })).toMatchObject({ total: 2, equal: 0 });
    expect(check('wire.config', { config: [256, 256, 166] })).toMatchObject({
      total: 3,
      equal: 1,
      firstDifference: { index: 1, expected: 166, actual: 256 },
    });
  });
});

describe('qmp.replies', () => {
  test('members in any order, but ids, values and errors as recorded', () => {
    const of = (message: Observed['qmp'][number]['message']): number =>
      check('qmp.replies', { qmp: qmpWith(3, message) }).equal;
    expect(of({ return: { actual: 4096 }, id: [7] })).toBe(3);
    expect(of({ return: { actual: 4096 } })).toBe(2);
    expect(of({ return: { actual: 8192 }, id: [7] })).toBe(2);
    expect(of({ return: { actual: 4096, more: 1 }, id: [7] })).toBe(2);
    expect(of({ return: { actual: 4096 }, id: ['7'] })).toBe(2);
    expect(of({ error: { class: 'GenericError', desc: '' }, id: [7] })).toBe(2);
  });

  test('a missing reply shifts those after it', () => {
    expect(check('qmp.replies', { qmp: qmpWith(3) })).toMatchObject({
      total: 3,
      equal: 1,
      firstDifference: {
        index: 1,
        expected: { return: { actual: 4096 }, id: [7] },
        actual: { return: {} },
      },
    });
  });

  test('what is answered to a request without a recorded reply is no item', () => {
    const surplus = [...OBSERVED.qmp, { request: 3, message: { return: {} } }];
    expect(check('qmp.replies', { qmp: surplus }).total).toBe(3);
    expect(check('qmp.replies', { qmp: surplus }, { ...EXPECTED, unanswered: [] })).toMatchObject({
      total: 5,
      equal: 3,
      firstDifference: { index: 3, expected: null },
    });
  });

  test('the negotiation counts with its greeting, after the other replies', () => {
    const greeting = { QMP: { capabilities: ['oob'] } };
    const negotiation = [greeting, { return: {} }];
    const expected = { ...EXPECTED, negotiation };
    expect(check('qmp.replies', { negotiation }, expected)).toMatchObject({ total: 5, equal: 5 });
    expect(check('qmp.replies', {}, expected)).toMatchObject({
      total: 5,
      equal: 3,
      firstDifference: { index: 3, expected: greeting, actual: null },
    });
    const wrong = [greeting, { return: 1 }];
    expect(check('qmp.replies', { negotiation: wrong }, expected)).toMatchObject({
      equal: 4,
      firstDifference: { index: 4 },
    });
  });
});

describe('qmp.events', () => {
  const of = (qmp: Observed['qmp']): Check => check('qmp.events', { qmp });

  test('name and data of each, not the time stamp', () => {
    const event = { event: 'BALLOON_CHANGE', timestamp: {} };
    expect(of(qmpWith(2, { ...event, data: { actual: 8192 } }))).toMatchObject({
      total: 2,
      equal: 1,
      firstDifference: { index: 0, actual: { name: 'BALLOON_CHANGE', data: { actual: 8192 } } },
    });
    expect(of(qmpWith(2, event)).equal).toBe(1);
    expect(of(qmpWith(2, { event: 'RESUME', data: { actual: 4096 } })).equal).toBe(1);
    expect(of(qmpWith(2))).toMatchObject({ total: 2, equal: 0 });
  });

  test('STOP has to come before the reply to stop', () => {
    const stop = OBSERVED.qmp[4];
    expect(of([...qmpWith(4), stop])).toMatchObject({
      total: 2,
      equal: 1,
      firstDifference: { index: 1, expected: { beforeReplyTo: 2 } },
    });
    expect(of([...OBSERVED.qmp.slice(0, 3), stop, ...qmpWith(4).slice(3)]).equal).toBe(1);
  });

  test('BALLOON_CHANGE may come before or after a reply', () => {
    const [greeting, first, change, ...rest] = OBSERVED.qmp;
    expect(of([greeting, change, first, ...rest]).equal).toBe(2);
  });
});

describe.each(NAMES)('%s, done again by a perfect emulator', (name) => {
  const { expectations } = recorded(name);
  const perfect = echo(expectations);

  function failing(change: Partial<Observed>): string[] {
    const checks = runChecks(expectations, { ...perfect, ...change });
    return checks.filter((item) => item.equal < item.total).map((item) => item.name);
  }

  test('is equal in every item', () => {
    expect(failing({})).toEqual([]);
    for (const item of runChecks(expectations, perfect)) {
      expect(item).toMatchObject({ equal: item.total, firstDifference: null });
      expect(item.total).toBeGreaterThan(0);
    }
  });

  test('a single change is caught by its check and by no other', () => {
    const { buffers, config, status, features, qmp } = perfect;
    const middle = buffers.length >> 1;
    expect(failing({ features: features ^ 2n })).toEqual(['wire.features']);
    expect(failing({ status: status.toSpliced(3, 1) })).toEqual(['wire.status']);
    expect(failing({ buffers: buffers.with(middle, { ...buffers[middle], count: 1 }) })).toEqual([
      'wire.buffers',
    ]);
    expect(failing({ buffers: buffers.toSpliced(middle, 1) })).toEqual(['wire.buffers']);
    expect(failing({ config: config.with(7, config[7] + 256) })).toEqual(['wire.config']);
    const reply = qmp.findLastIndex((item) => 'return' in item.message);
    expect(failing({ qmp: qmp.with(reply, { request: 0, message: { return: 5 } }) })).toEqual([
      'qmp.replies',
    ]);
    const event = qmp.findLastIndex((item) => 'event' in item.message);
    expect(failing({ qmp: qmp.toSpliced(event, 1) })).toEqual(['qmp.events']);
  });
});
