import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Fleet } from '../../../../lab/fleet.ts';
import { parseScenario } from '../../../../lab/scenario/schema.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { puff } from '../../../support/puff.ts';

const MODES = ['movable', 'v2012', 'off'] as const;

describe('guests of each mode of --balloon-compaction, in processes', () => {
  const guests = MODES.map((balloonCompaction) => {
    return { id: balloonCompaction, memoryBytes: 64 * MIB, balloonCompaction };
  });
  const fleet = new Fleet({ guests });
  beforeAll(() => fleet.start(), 30_000);
  afterAll(() => fleet.stop());

  it.each([
    ['off', []],
    ['movable', ['balloon_migrate']],
    ['v2012', ['balloon_migrate', 'compact_balloon_isolated']],
  ] as const)('%s', async (id, events) => {
    const { compaction } = (await fleet.look(id)).dump;
    const names = ['balloon_migrate', 'compact_balloon_isolated'];
    expect(Object.keys(compaction).filter((name) => names.includes(name))).toEqual(events);
  });
});

it('another mode is refused with what there is', async () => {
  const connect = ['guest', '--connect', 'ws://127.0.0.1:1'];
  const { code, stderr } = await puff([...connect, '--balloon-compaction', '2012']);
  expect(code).toBe(2);
  expect(stderr).toContain('one of movable, v2012, off');
});

it.each(MODES)('a scenario may ask for %s', (balloonCompaction) => {
  const guests = [{ id: 'vm0', memory: '64M', balloonCompaction }];
  const steps = [{ do: 'settle', guest: 'vm0' }];
  const scenario = parseScenario(JSON.stringify({ name: 's', guests, steps }));
  expect(scenario.guests[0].balloonCompaction).toBe(balloonCompaction);
});
