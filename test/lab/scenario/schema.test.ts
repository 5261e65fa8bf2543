import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseScenario, readScenario, ScenarioError } from '../../../lab/scenario/schema.ts';
import { ROOT } from '../../support/puff.ts';

const MIB = 2 ** 20;
const GUEST = { id: 'vm0', memory: '128M' };
const STEP = { do: 'settle', guest: 'vm0' };

function parse(changes: object): ReturnType<typeof parseScenario> {
  const scenario = { name: 's', guests: [GUEST], steps: [STEP], ...changes };
  return parseScenario(JSON.stringify(scenario), 'file.json');
}

test('sizes become bytes, what is left out has its default', () => {
  expect(parse({ steps: [{ do: 'balloon', guest: 'vm0', size: '1G' }, STEP] })).toEqual({
    name: 's',
    seed: 1,
    host: { strict: false },
    guests: [{ id: 'vm0', memory: 128 * MIB, workload: 'default', balloonCompaction: 'movable' }],
    steps: [
      { do: 'balloon', guest: 'vm0', size: 1024 * MIB },
      { do: 'settle', guest: 'vm0', timeoutSeconds: 30 },
    ],
  });
});

test('an image is named from the folder of the scenario, and tells the memory', () => {
  const { guests } = parseScenario(
    JSON.stringify({ name: 's', guests: [{ id: 'vm0', image: 'f.json.gz' }], steps: [STEP] }),
    '/some/where/file.json',
  );
  expect(guests).toMatchObject([{ id: 'vm0', image: '/some/where/f.json.gz' }]);
  expect(guests[0]).not.toHaveProperty('memory');
  expect(() => parse({ guests: [{ id: 'vm0' }] })).toThrow(
    'file.json: guests.0.memory: is missing; say how much, or give an image',
  );
});

test('every scenario that comes with Puff is named as its file', () => {
  const folder = join(ROOT, 'lab/scenarios');
  const files = readdirSync(folder);
  expect(files).toHaveLength(3);
  for (const file of files) {
    expect(`${readScenario(join(folder, file)).name}.json`).toBe(file);
  }
});

describe('a file that cannot be used is told in one line with the place', () => {
  test.each([
    [{ name: '' }, /^file\.json: name: 1 to 64 characters on one line$/],
    [{ name: 'a\u001b[2J' }, /^file\.json: name: /],
    [{ colour: 'red' }, /^file\.json: Unrecognized key: "colour"$/],
    [{ seed: -1 }, /^file\.json: seed: /],
    [{ seed: 1.5 }, /^file\.json: seed: /],
    [{ guests: [] }, /^file\.json: guests: /],
    [{ guests: [{ ...GUEST, id: '../x' }] }, /guests\.0\.id: an id has 1 to 64 letters/],
    [{ guests: [{ ...GUEST, memory: '1M' }] }, /guests\.0\.memory: '1M' is no guest's RAM/],
    [{ guests: [{ ...GUEST, memory: '1X' }] }, /guests\.0\.memory: '1X' is no size/],
    [{ guests: [GUEST, GUEST] }, /^file\.json: guests\.1\.id: vm0 twice$/],
    [{ host: { device: 'e1000' } }, /host\.device: 'e1000' is not virtio-balloon-pci/],
    [{ steps: [] }, /^file\.json: steps: /],
    [{ steps: [{ do: 'kill', guest: 'vm0' }] }, /steps\.0\.do: .*'balloon' \| 'settle'/],
    [{ steps: [{ do: 'settle' }] }, /^file\.json: steps\.0\.guest: is missing$/],
    [{ steps: [{ ...STEP, guest: 'vm9' }] }, /steps\.0\.guest: no guest 'vm9'; there is vm0$/],
    [{ steps: [{ ...STEP, timeoutSeconds: 1e9 }] }, /steps\.0\.timeoutSeconds: /],
    [{ steps: [{ do: 'sleep', seconds: -1 }] }, /steps\.0\.seconds: /],
    [{ steps: [{ do: 'driver', guest: 'vm0', verb: 'kick' }] }, /steps\.0\.verb: .*"unbind"/],
    [{ steps: [{ do: 'run', guest: 'vm0', program: { name: 'fork' } }] }, /program\.name: .*'hog'/],
  ])('%j', (changes, expected) => {
    const parsing = (): unknown => parse(changes);
    expect(parsing).toThrow(ScenarioError);
    expect(parsing).toThrow(expected);
    expect(parsing).not.toThrow(/\n/);
  });

  test('no JSON, no file, a folder', () => {
    expect(() => parseScenario('{', 'file.json')).toThrow(/^file\.json: is not JSON: /);
    expect(() => readScenario('/nowhere.json')).toThrow('/nowhere.json: no such file');
    expect(() => readScenario('/')).toThrow(/^\/: EISDIR/);
  });
});
