import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { Fleet } from '../../../lab/fleet.ts';
import { playSteps } from '../../../lab/scenario/runner.ts';
import { parseScenario, type Step } from '../../../lab/scenario/schema.ts';

/** Every kind of step with real processes: one host and one guest serve all tests. */
const MIB = 2 ** 20;
const guests = [{ id: 'vm0', memoryBytes: 128 * MIB, workload: 'none' as const }];
const fleet = new Fleet({ guests, device: 'virtio-balloon-pci,deflate-on-oom=on' });
let printed = '';
const output = { write: (text: string) => (printed += text) };

beforeAll(() => fleet.start(), 30_000);
afterAll(() => fleet.stop());
beforeEach(() => {
  printed = '';
});

/** Steps as they stand in a file. */
function steps(...written: readonly object[]): readonly Step[] {
  const guest = { id: 'vm0', memory: '128M' };
  return parseScenario(JSON.stringify({ name: 's', guests: [guest], steps: written })).steps;
}

function play(...written: readonly object[]): Promise<void> {
  return playSteps(fleet, steps(...written), output);
}

describe('steps', () => {
  test('balloon, settle, check', async () => {
    await play(
      { do: 'balloon', guest: 'vm0', size: '96M' },
      { do: 'settle', guest: 'vm0' },
      { do: 'check', guest: 'vm0', balloonSize: '32M' },
      { do: 'balloon', guest: 'vm0', size: '128M' },
      { do: 'settle', guest: 'vm0', timeoutSeconds: 10 },
      { do: 'check', guest: 'vm0' },
    );
    const lines = printed.split('\n');
    expect(lines).toContain('1/6 balloon vm0 to 96M');
    expect(lines).toContain('2/6 settle vm0 at 96M');
    expect(lines).toContain('3/6 check vm0 ledger and list hold the same 8192 pages');
    expect(lines).toContain('6/6 check vm0 ledger and list hold the same 0 pages');
  });

  test('qmp: what is expected must be contained in the return value', async () => {
    await play(
      { do: 'qmp', guest: 'vm0', execute: 'query-status', expect: { running: true } },
      { do: 'qmp', guest: 'vm0', execute: 'query-balloon', expect: { actual: 128 * MIB } },
      { do: 'qmp', guest: 'vm0', execute: 'nope', expectError: 'CommandNotFound' },
      {
        do: 'qmp',
        guest: 'vm0',
        execute: 'qom-get',
        arguments: { path: '/machine/peripheral/balloon0', property: 'deflate-on-oom' },
        expect: true,
      },
    );
    expect(printed).toContain('3/4 qmp vm0 nope: ');
  });

  test('driver, run, cut, sleep', async () => {
    await play(
      { do: 'driver', guest: 'vm0', verb: 'unbind' },
      { do: 'driver', guest: 'vm0', verb: 'bind' },
      { do: 'run', guest: 'vm0', program: { name: 'hog', mib: 1, seconds: 0 } },
      { do: 'cut', guest: 'vm0' },
      { do: 'sleep', seconds: 0 },
    );
    expect(printed).toBe(
      '1/5 driver vm0 unbind\n2/5 driver vm0 bind\n3/5 run vm0 hog\n' +
        '4/5 cut vm0 connection\n5/5 sleep 0 s\n',
    );
  });
});

describe('steps that compact', () => {
  test('compact_memory: what was moved, free huge pages before and after', async () => {
    await play({ do: 'compact_memory', guest: 'vm0', expectFree: 10 });
    const said = /^1\/1 compact_memory vm0 \d+ pages moved, 0 of them the balloon's;/;
    expect(printed).toMatch(said);
    expect(printed).toMatch(/; free huge pages \d+, now \d+\n$/);
    const free = printed.trim().split(' ').at(-1);
    const more = { do: 'compact_memory', guest: 'vm0', expectFree: 64 };
    await expect(play(more)).rejects.toThrow(
      `step 1/1 compact_memory vm0: ${free} huge pages are free, expected 64`,
    );
  });

  test('nr_hugepages: all that are asked for, or as many as are expected', async () => {
    await play(
      { do: 'nr_hugepages', guest: 'vm0', count: 4 },
      { do: 'nr_hugepages', guest: 'vm0', count: 2, expect: 2 },
    );
    expect(printed).toBe('1/2 nr_hugepages vm0 4 of 4\n2/2 nr_hugepages vm0 2 of 2\n');
    const tooMany = { do: 'nr_hugepages', guest: 'vm0', count: 64 };
    await expect(play(tooMany)).rejects.toThrow(
      /^step 1\/1 nr_hugepages vm0: there are \d+ of 64 huge pages, expected 64$/,
    );
    await play({ do: 'nr_hugepages', guest: 'vm0', count: 0 });
  });
});

describe('a step that fails says where and why', () => {
  test.each([
    [
      { do: 'check', guest: 'vm0', balloonSize: '4M' },
      'check vm0: the balloon holds 0B, expected 4M',
    ],
    [
      { do: 'qmp', guest: 'vm0', execute: 'query-balloon', expect: { actual: 1 } },
      'qmp vm0: query-balloon returned {"actual":134217728}',
    ],
    [
      { do: 'qmp', guest: 'vm0', execute: 'nope' },
      'qmp vm0: The command nope has not been found (CommandNotFound)',
    ],
    [
      { do: 'qmp', guest: 'vm0', execute: 'query-balloon', expectError: 'GenericError' },
      'qmp vm0: query-balloon succeeded, expected GenericError',
    ],
    [
      { do: 'qmp', guest: 'vm0', execute: 'nope', expectError: 'GenericError' },
      'qmp vm0: The command nope has not been found (CommandNotFound)',
    ],
    [
      { do: 'driver', guest: 'vm0', verb: 'resume' },
      'driver vm0: EINVAL: the guest is not suspended (the driver is bound)',
    ],
  ])('%j', async (step, expected) => {
    await expect(play({ do: 'sleep', seconds: 0 }, step)).rejects.toMatchObject({
      name: 'StepFailed',
      message: `step 2/2 ${expected}`,
    });
    expect(printed).toBe('1/2 sleep 0 s\n');
  });

  test('settle: a target not reached in time, with both sides’ view', async () => {
    const suspended = [
      { do: 'driver', guest: 'vm0', verb: 'suspend' },
      { do: 'balloon', guest: 'vm0', size: '96M' },
      { do: 'settle', guest: 'vm0', timeoutSeconds: 0.05 },
    ];
    await expect(play(...suspended)).rejects.toThrow(
      /^step 3\/3 settle vm0: vm0 did not get there in 50 ms: \{"host":\{.*"dump":\{/,
    );
    await play({ do: 'driver', guest: 'vm0', verb: 'resume' }, { do: 'settle', guest: 'vm0' });
  });
});

test('an aborted sleep ends at once', async () => {
  const controller = new AbortController();
  const sleeping = playSteps(
    fleet,
    steps({ do: 'sleep', seconds: 3600 }),
    output,
    controller.signal,
  );
  controller.abort();
  await expect(sleeping).rejects.toMatchObject({ name: 'AbortError' });
});
