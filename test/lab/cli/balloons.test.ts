import { afterAll, describe, expect, test } from 'vitest';
import { LineClient } from '../../../shared/control/line-client.ts';
import type { GuestDump, HostGuestSummary } from '../../../shared/control/schemas.ts';
import { MIB, PAGE_SIZE } from '../../../shared/lib/units.ts';
import { Workplace } from '../../support/puff.ts';

/** One guest with three balloon devices by two hosts, each a process, as an operator has them. */
const place = new Workplace();
const clients: LineClient[] = [];

afterAll(async () => {
  for (const client of clients) client.close();
  await place.clear();
});

const RAM = 128 * MIB;
const PAGES = { vm0: 1000, b1: 700, b2: 300 } as const;

interface HostView {
  readonly pfns: readonly number[];
}

async function control(path: string): Promise<LineClient> {
  const client = await LineClient.connect(path);
  clients.push(client);
  return client;
}

describe('--balloon', () => {
  test('by the same host and by another: each has its ledger and ends by itself', async () => {
    const [first, second] = await Promise.all(
      ['first', 'second'].map((name) => place.host(['--control', place.path(name)])),
    );
    const [hostOne, hostTwo] = [
      await control(place.path('first')),
      await control(place.path('second')),
    ];
    const guest = place.start([
      ...['guest', '--connect', first.url, '--memory', '128M', '--workload', 'none'],
      ...['--balloon', 'b1', '--balloon', `b2=${second.url}`, '--control', place.path('vm0')],
    ]);
    await guest.output(/puff guest vm0: balloon b1 connected to ws:/);
    await guest.output(new RegExp(`puff guest vm0: balloon b2 connected to ${second.url}\n`));
    const vm0 = await control(place.path('vm0'));
    const dump = (): Promise<GuestDump> => vm0.request({ verb: 'dump', pfns: true });
    const states = async (): Promise<string[]> =>
      (await dump()).balloons.map(({ driver }) => driver);
    await expect.poll(states).toEqual(['bound', 'bound', 'bound']);

    for (const [id, pages] of Object.entries(PAGES)) {
      const host = id === 'b2' ? hostTwo : hostOne;
      await host.request({ verb: 'balloon', guest: id, bytes: RAM - pages * PAGE_SIZE });
    }
    const lengths = async (): Promise<number[]> =>
      (await dump()).balloons.map(({ listPages }) => listPages);
    await expect.poll(lengths).toEqual(Object.values(PAGES));
    const ledgers = await Promise.all(
      Object.keys(PAGES).map(async (id) => {
        const host = id === 'b2' ? hostTwo : hostOne;
        return (await host.request<HostView>({ verb: 'ledger', guest: id, pfns: true })).pfns;
      }),
    );
    const { balloons } = await dump();
    const sorted = balloons.map(({ pfns = [] }) => [...pfns].sort((a, b) => a - b));
    expect(sorted).toEqual(ledgers);
    expect(new Set(ledgers.flat()).size).toBe(2000);

    expect(await vm0.request({ verb: 'unbind', device: 'b1' })).toEqual({ driver: 'unbound' });
    expect(await lengths()).toEqual([1000, 0, 300]);
    await hostTwo.request({ verb: 'cut', guest: 'b2' });
    await guest.output(/puff guest vm0: balloon b2 lost \(.*\), trying again\n/);
    await guest.output(/puff guest vm0: balloon b2 resumed\n/);
    expect(await lengths()).toEqual([1000, 0, 300]);

    await second.process.end();
    await guest.output(/balloon b2 lost \("host-going"\), trying again\n/);
    const list = (): Promise<HostGuestSummary[]> => hostOne.request({ verb: 'list' });
    expect((await list()).map(({ id, connected }) => [id, connected])).toEqual([
      ['vm0', true],
      ['b1', true],
    ]);
    const { code, stderr } = await guest.end();
    expect([code, stderr]).toEqual([0, '']);
    await expect.poll(list).toEqual([]);
  });

  test('one that its host does not take is told, and the guest runs on', async () => {
    const { url, process: host } = await place.host();
    const other = place.start(['guest', '--connect', url, '--id', 'b1', '--memory', '64M']);
    await other.output(/connected/);
    const guest = place.start([
      ...['guest', '--connect', url, '--memory', '64M', '--epoch', '1', '--balloon', 'b1'],
    ]);
    const [, reason] = await guest.output(
      /puff: the host does not take balloon b1 of guest vm0: (.*)\n/,
    );
    expect(reason).toMatch(/a later guest of this id took its place \(epoch 1, /);
    await host.output(/guest vm0 connected/);
    const { code, stdout } = await guest.end();
    expect(code).toBe(0);
    expect(stdout).toMatch(/puff guest vm0: connected to /);
  });
});
