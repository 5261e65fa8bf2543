import { existsSync, writeFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from 'vitest';
import { connectQmp, type QmpClient } from '../../../lab/qmp-client.ts';
import { LineClient } from '../../../shared/control/line-client.ts';
import type { GuestDump } from '../../../shared/control/schemas.ts';
import { unusedPort } from '../../support/ports.ts';
import { puff, Workplace } from '../../support/puff.ts';

const workplace = new Workplace();
afterAll(() => workplace.clear());

const POLLING = { path: 'balloon0', property: 'guest-stats-polling-interval' };
const TARGET = 48 * 2 ** 20;

/** Resolves when the guest has said that TARGET remains to it. */
async function atTarget(client: QmpClient): Promise<void> {
  const changed = new Promise<void>((resolve) => {
    client.onEvent(({ event, data }) => {
      if (event === 'BALLOON_CHANGE' && data.actual === TARGET) resolve();
    });
  });
  const now = await client.execute('query-balloon');
  if (JSON.stringify(now) !== JSON.stringify({ actual: TARGET })) await changed;
}

describe('puff host --store', () => {
  test('after SIGKILL: guest, target and interval are there again, and every frame', async () => {
    const args = ['--store', workplace.path('guests'), '--qmp', workplace.directory];
    const control = ['--control', workplace.path('host.ctl')];
    const port = String(await unusedPort());
    const first = workplace.start(['host', '--listen', port, ...args, ...control]);
    const [url = ''] = await first.output(/ws:\S+/);
    const guest = await workplace.guest(url, ['--control', workplace.path('vm0.ctl')]);
    const before = await connectQmp(workplace.path('vm0.qmp'));
    await before.execute('balloon', { value: TARGET });
    await before.execute('qom-set', { ...POLLING, value: 3 });
    await atTarget(before);
    const dumped = await LineClient.connect(workplace.path('vm0.ctl'));
    const list = await dumped.request<GuestDump>({ verb: 'dump', pfns: true });
    await first.end('SIGKILL');
    await before.close();
    // Both were left behind by the kill.
    expect(existsSync(workplace.path('vm0.qmp'))).toBe(true);
    expect(existsSync(workplace.path('guests.lock'))).toBe(true);

    const again = workplace.start(['host', '--listen', port, ...args, ...control]);
    await again.output(/guest vm0 restored, 67108864 bytes of RAM.*listening on/s);
    const after = await connectQmp(workplace.path('vm0.qmp'));
    expect(await after.execute('query-status')).toMatchObject({ status: 'running' });
    expect(await after.execute('qom-get', POLLING)).toBe(3);
    await guest.output(/connected.*lost.*connected/s);
    await atTarget(after);
    const host = await LineClient.connect(workplace.path('host.ctl'));
    const ledger = await host.request<{ pfns: number[] }>({
      verb: 'ledger',
      guest: 'vm0',
      pfns: true,
    });
    expect(ledger.pfns).toEqual([...(list.pfns ?? [])].sort((a, b) => a - b));
    host.close();
    dumped.close();
    await after.close();
  });

  test('a store that another host has: exit 2', async () => {
    const store = workplace.path('taken');
    await workplace.host(['--store', store]);
    const second = await puff(['host', '--listen', '127.0.0.1:0', '--store', store]);
    expect([second.code, second.stderr]).toEqual([
      2,
      `puff: the store ${store} is in use by another host\n`,
    ]);
  });

  test('a store that is damaged: exit 2, and the file is left alone', async () => {
    const store = workplace.path('damaged');
    writeFileSync(store, 'no record\nnor this\n');
    const { code, stderr } = await puff(['host', '--listen', '127.0.0.1:0', '--store', store]);
    expect([code, stderr]).toEqual([
      2,
      `puff: ${store}: line 1 is no record; move the file away\n`,
    ]);
  });
});

describe('puff host --resume-window', () => {
  test('a guest that is away for longer is dead: GUEST_PANICKED', async () => {
    const { url } = await workplace.host([
      ...['--qmp', workplace.directory, '--resume-window', '0.2'],
    ]);
    const guest = await workplace.guest(url, ['--id', 'vm7']);
    const client = await connectQmp(workplace.path('vm7.qmp'));
    const panicked = new Promise((resolve) => {
      client.onEvent((event) => event.event === 'GUEST_PANICKED' && resolve(event.data));
    });
    await guest.end('SIGKILL');
    expect(await panicked).toEqual({ action: 'pause' });
    expect(await client.execute('query-status')).toMatchObject({ status: 'guest-panicked' });
    await client.close();
  });

  test.each(['0', 'soon'])('%j is refused: exit 2', async (seconds) => {
    const { code, stderr } = await puff(['host', '--resume-window', seconds]);
    expect(code).toBe(2);
    expect(stderr).toContain('write seconds, more than 0 and at most 86400');
  });
});

describe('puff guest --epoch', () => {
  test('a life older than one the host has seen is refused: exit 2', async () => {
    const { url } = await workplace.host();
    await workplace.guest(url, ['--id', 'vm8', '--epoch', '7']);
    const old = await puff(['guest', '--connect', url, '--id', 'vm8', '--epoch', '6']);
    expect(old.code).toBe(2);
    expect(old.stderr).toContain('epoch 6, the host has seen 7');
  });

  test.each(['1.5', '9007199254740992'])('%j is refused: exit 2', async (epoch) => {
    const { code, stderr } = await puff(['guest', '--connect', 'ws://x', '--epoch', epoch]);
    expect(code).toBe(2);
    expect(stderr).toContain('write a whole number from 0 to 9007199254740991');
  });
});
