import { describe, expect, test } from 'vitest';
import { STATS_TAGS } from '../../../../shared/virtio/balloon.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { errorLine, RECORDED_SETTINGS, TestClient } from './support.ts';

const PROXY = '/machine/peripheral/balloon0';
const BACKEND = `${PROXY}/virtio-backend`;

const get = (path: string, property: string, client = TestClient.ready()): string =>
  client.execute('qom-get', { path, property });
const set = (path: string, property: string, value: string | number | boolean): string =>
  TestClient.ready().execute('qom-set', { path, property, value });
const list = (path: string): { name: string; type: string }[] =>
  JSON.parse(TestClient.ready().execute('qom-list', { path })).return;

describe('paths', () => {
  test.each([
    [PROXY, 'virtio-balloon-pci'],
    ['/machine//peripheral/balloon0/', 'virtio-balloon-pci'],
    ['machine/peripheral/balloon0', 'virtio-balloon-pci'],
    ['balloon0', 'virtio-balloon-pci'],
    ['peripheral/balloon0', 'virtio-balloon-pci'],
    ['virtio-backend', 'virtio-balloon-device'],
    [BACKEND, 'virtio-balloon-device'],
    ['/machine', 'pc-q35-7.2-machine'],
    ['/', 'container'],
  ])('%s is a %s', (path, typename) => {
    expect(get(path, 'type')).toBe(`{"return": "${typename}"}`);
  });

  test.each(['', 'nope', '/balloon0', '/machine/nope', `${PROXY}/iothread`, `${PROXY}/type`])(
    '"%s" is no object',
    (path) => {
      expect(get(path, 'type')).toBe(errorLine(`Device '${path}' not found`, 'DeviceNotFound'));
    },
  );

  test('an ambiguous path has a text of its own in qom-list only', () => {
    expect(TestClient.ready().execute('qom-list', { path: '' })).toBe(
      errorLine("Path '' is ambiguous"),
    );
  });

  test('a long path costs no more than its length', () => {
    const path = 'machine/'.repeat(100_000);
    expect(get(path, 'type')).toContain('DeviceNotFound');
  });
});

describe('qom-list', () => {
  test('a controller finds the balloon by walking child<...> from the root', () => {
    const found: string[] = [];
    const walk = (path: string): void => {
      for (const { name, type } of list(path)) {
        if (type === 'child<virtio-balloon-pci>') found.push(`${path}/${name}`);
        else if (type.startsWith('child<')) walk(`${path}/${name}`);
      }
    };
    walk('/machine');
    expect(found).toEqual([PROXY]);
  });

  test('each listed property can be read', () => {
    for (const path of ['/', '/machine', '/machine/peripheral', PROXY, BACKEND]) {
      for (const { name } of list(path)) expect(get(path, name)).toMatch(/^\{"return": /);
    }
  });

  test('the backend lists in its own order', () => {
    expect(list(BACKEND).map(({ name }) => name)).toEqual([
      'type',
      'realized',
      'hotplugged',
      'hotpluggable',
      'iothread',
      'deflate-on-oom',
      'free-page-hint',
      'page-poison',
      'qemu-4-0-config-size',
      'free-page-reporting',
      'guest-stats-polling-interval',
      'guest-stats',
    ]);
  });

  test('without a balloon /machine/peripheral is empty', () => {
    const machine = new FakeMachine();
    machine.balloon = undefined;
    const reply = TestClient.ready(machine).execute('qom-list', { path: '/machine/peripheral' });
    expect(reply).toBe('{"return": [{"name": "type", "type": "string"}]}');
  });
});

describe('properties', () => {
  test('device options are read from either object', () => {
    const machine = new FakeMachine();
    const options = { 'deflate-on-oom': true, 'page-poison': false };
    if (machine.balloon !== undefined) {
      machine.balloon.properties = { ...machine.balloon.properties, ...options };
    }
    const client = TestClient.ready(machine);
    for (const path of [PROXY, BACKEND]) {
      expect(get(path, 'deflate-on-oom', client)).toBe('{"return": true}');
      expect(get(path, 'page-poison', client)).toBe('{"return": false}');
      expect(get(path, 'free-page-hint', client)).toBe('{"return": false}');
      expect(get(path, 'iothread', client)).toBe('{"return": ""}');
    }
  });

  test('an unknown one is named with its object', () => {
    expect(get(PROXY, 'nope')).toBe(errorLine("Property 'virtio-balloon-pci.nope' not found"));
    expect(get(BACKEND, 'nope')).toBe(errorLine("Property 'virtio-balloon-device.nope' not found"));
    expect(set('/machine', 'nope', 1)).toBe(
      errorLine("Property 'pc-q35-7.2-machine.nope' not found"),
    );
  });

  test.each([
    [PROXY, 'type', "Property 'virtio-balloon-pci.type' is not writable"],
    [PROXY, 'guest-stats', "Property 'virtio-balloon-device.guest-stats' is not writable"],
    [PROXY, 'virtio-backend', "Property 'virtio-balloon-pci.virtio-backend' is not writable"],
    ['/machine/peripheral', 'balloon0', "Property 'container.balloon0' is not writable"],
    [
      PROXY,
      'deflate-on-oom',
      "Attempt to set property 'deflate-on-oom' on anonymous device " +
        "(type 'virtio-balloon-device') after it was realized",
    ],
    [BACKEND, 'iothread', "Invalid parameter type for 'iothread', expected: string"],
  ])('qom-set %s %s', (path, property, desc) => {
    expect(set(path, property, 1)).toBe(errorLine(desc));
  });

  test('the iothread link takes no object and cannot be cleared either', () => {
    expect(set(PROXY, 'iothread', 'nope')).toBe(
      errorLine("Device 'nope' not found", 'DeviceNotFound'),
    );
    expect(set(PROXY, 'iothread', 'balloon0')).toBe(
      errorLine("Invalid parameter type for 'iothread', expected: iothread"),
    );
    expect(set(PROXY, 'iothread', '')).toBe(
      errorLine(
        "Attempt to set link property 'iothread' on device '(null)' " +
          "(type 'virtio-balloon-device') after it was realized",
      ),
    );
  });

  test('qom-set wants path, property and value, whatever their object', () => {
    const client = TestClient.ready();
    expect(client.execute('qom-set', { path: 'nope', property: 'x' })).toBe(
      errorLine("Parameter 'value' is missing"),
    );
    expect(client.execute('qom-get', { property: 'x' })).toBe(
      errorLine("Parameter 'path' is missing"),
    );
  });
});

describe('guest-stats-polling-interval', () => {
  const property = 'guest-stats-polling-interval';

  test.each([0, 1, 2, 2 ** 32 - 1])('%d seconds are taken, from either object', (seconds) => {
    for (const path of [PROXY, BACKEND]) {
      const client = TestClient.ready();
      expect(client.execute('qom-set', { path, property, value: seconds })).toBe('{"return": {}}');
      expect(client.machine.balloon?.pollingIntervalSeconds).toBe(seconds);
      expect(get(path, property, client)).toBe(`{"return": ${seconds}}`);
    }
  });

  test.each([
    [-1, 'timer value must be greater than zero'],
    [2 ** 32, 'timer value is too big'],
    ['x', "Invalid parameter type for 'guest-stats-polling-interval', expected: integer"],
    [1.5, "Invalid parameter type for 'guest-stats-polling-interval', expected: integer"],
    [true, "Invalid parameter type for 'guest-stats-polling-interval', expected: integer"],
  ])('%s is refused', (value, desc) => {
    expect(set(PROXY, property, value)).toBe(errorLine(desc));
  });
});

describe('guest-stats', () => {
  test('before the first answer every statistic is 2^64 - 1 and last-update is 0', () => {
    const reply = get(PROXY, 'guest-stats');
    expect(reply.match(/: 18446744073709551615/g)).toHaveLength(10);
    expect(reply).toMatch(/, "last-update": 0\}\}$/);
  });

  test('what the guest sent is exact, what it did not send is unset', () => {
    const machine = new FakeMachine();
    if (machine.balloon !== undefined) {
      machine.balloon.stats = {
        values: { 'free-memory': 2n ** 63n + 1n, 'swap-in': 0n },
        lastUpdateSeconds: 1795161910,
      };
    }
    const reply = get(BACKEND, 'guest-stats', TestClient.ready(machine));
    expect(reply).toContain('"stat-free-memory": 9223372036854775809');
    expect(reply).toContain('"stat-swap-in": 0');
    expect(reply.match(/: 18446744073709551615/g)).toHaveLength(8);
    expect(reply).toContain('"last-update": 1795161910');
  });

  test('a later version shows all sixteen', () => {
    const settings = { ...RECORDED_SETTINGS, statsCount: 16 };
    const client = TestClient.ready(new FakeMachine(), [], settings);
    const reply = JSON.parse(get(PROXY, 'guest-stats', client)).return;
    expect(Object.keys(reply.stats).sort()).toEqual(STATS_TAGS.map((tag) => `stat-${tag}`).sort());
  });
});
