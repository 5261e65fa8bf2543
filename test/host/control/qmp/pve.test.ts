import { beforeEach, describe, expect, test } from 'vitest';
import { QmpSession } from '../../../../host/control/qmp/session.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { balloonOf } from '../../../support/balloon-of.ts';
import { FakeMachine } from '../../../support/fake-machine.ts';
import { HeldGuest } from '../../../support/held-guest.ts';
import { bytes, errorLine, RECORDED_SETTINGS, TestClient } from './support.ts';

/** Proxmox VE's patch "virtio-balloon: improve query-balloon". */
const PVE = { ...RECORDED_SETTINGS, dialect: 'pve' } as const;

let machine: FakeMachine;
let client: TestClient;

beforeEach(() => {
  machine = new FakeMachine(1024);
  client = TestClient.ready(machine, [], PVE);
  const balloon = balloonOf(machine);
  balloon.pollingIntervalSeconds = 2;
  balloon.actualBytes = 300 * MIB + 4096;
  balloon.stats = {
    values: {
      'swap-in': 8192n,
      'swap-out': 4096n,
      'major-faults': 7n,
      'minor-faults': 1234n,
      'free-memory': 99n * BigInt(MIB) + 5n,
      'total-memory': 250n * BigInt(MIB),
    },
    lastUpdateSeconds: 1_795_161_910,
  };
});

const query = (): Record<string, number> => JSON.parse(client.execute('query-balloon')).return;
const info = (): string =>
  JSON.parse(client.execute('human-monitor-command', { 'command-line': 'info balloon' })).return;

const BARE = { actual: 300 * MIB + 4096, max_mem: 1024 * MIB };

describe('query-balloon', () => {
  test('has the statistics beside actual and max_mem, in bytes and counts', () => {
    expect(query()).toEqual({
      ...BARE,
      last_update: 1_795_161_910,
      mem_swapped_in: 8192,
      mem_swapped_out: 4096,
      major_page_faults: 7,
      minor_page_faults: 1234,
      free_mem: 99 * MIB + 5,
      total_mem: 250 * MIB,
    });
  });

  test.each([
    ['polling is off', { pollingIntervalSeconds: 0 }],
    ['the driver has no statistics queue', { statsNegotiated: false }],
    ['the guest has not answered', { stats: { values: {}, lastUpdateSeconds: 0 } }],
  ])('has none while %s', (_, change) => {
    Object.assign(balloonOf(machine), change);
    expect(query()).toEqual(BARE);
    expect(info()).toBe('balloon: actual=300 max_mem=1024\r\n');
  });

  test('leaves out what the guest did not send, or sent as a negative number', () => {
    balloonOf(machine).stats = {
      values: { 'free-memory': 2n ** 64n - 1n, 'total-memory': 2n ** 63n, 'major-faults': 0n },
      lastUpdateSeconds: 5,
    };
    expect(query()).toEqual({ ...BARE, last_update: 5, major_page_faults: 0 });
  });

  test('is refused without a balloon, as is info balloon', () => {
    machine.balloon = undefined;
    expect(client.execute('query-balloon')).toBe(
      errorLine('No balloon device has been activated', 'DeviceNotActive'),
    );
    expect(info()).toBe('Error: No balloon device has been activated\r\n');
  });
});

test('info balloon: sizes in MiB first, counts as they are, the time last', () => {
  expect(info()).toBe(
    'balloon: actual=300 max_mem=1024 total_mem=250 free_mem=99 mem_swapped_in=8192 ' +
      'mem_swapped_out=4096 major_page_faults=7 minor_page_faults=1234 ' +
      'last_update=1795161910\r\n',
  );
});

test('query-commands lists three commands more than the plain dialect', () => {
  const names = (of: TestClient): string[] =>
    JSON.parse(of.execute('query-commands')).return.map(({ name }: { name: string }) => name);
  const plain = names(TestClient.ready());
  expect(names(client).filter((name) => !plain.includes(name))).toEqual([
    'query-blockstats',
    'query-machines',
    'query-proxmox-support',
  ]);
});

test('a guest’s driver that is gone for a while takes the statistics with it', () => {
  const held = new HeldGuest();
  let reply = '';
  const output = (text: string): void => {
    reply = text;
  };
  const session = new QmpSession({ machine: held.session.vm('vm0'), settings: PVE, output });
  session.feed(bytes('{"execute": "qmp_capabilities"}'));
  const keys = (): string[] => {
    session.feed(bytes('{"execute": "query-balloon"}'));
    return Object.keys(JSON.parse(reply).return);
  };
  held.balloon.pollingIntervalSeconds = 1;
  held.run(3000);
  expect(keys()).toHaveLength(9);
  held.guest.verb('unbind');
  held.run(1000);
  expect(keys()).toEqual(['actual', 'max_mem']);
  held.guest.verb('bind');
  held.run(3000);
  expect(keys()).toHaveLength(9);
});
