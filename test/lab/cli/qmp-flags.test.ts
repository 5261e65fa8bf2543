import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { connectQmp, type QmpClient } from '../../../lab/qmp-client.ts';
import { LineClient } from '../../../shared/control/line-client.ts';
import type { HostGuestSummary } from '../../../shared/control/schemas.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { type Puff, Workplace } from '../../support/puff.ts';

/** The flags of `puff host` that QMP clients notice. */
let place: Workplace;
let clients: QmpClient[];

beforeEach(() => {
  place = new Workplace();
  clients = [];
});

afterEach(async () => {
  for (const client of clients) await client.close();
  await place.clear();
});

async function hostAndGuest(flags: readonly string[]): Promise<Puff> {
  const { process, url } = await place.host(flags);
  await place.guest(url, ['--id', 'vm0']);
  return process;
}

/** The address that the host prints, over TCP. */
async function printed(host: Puff): Promise<{ host: string; port: number }> {
  const [, address = ''] = await host.output(/QMP of guest vm0 at (127\.0\.0\.1:\d+)\n/);
  const [name = '', port] = address.split(':');
  return { host: name, port: Number(port) };
}

async function client(target: Parameters<typeof connectQmp>[0]): Promise<QmpClient> {
  const connected = await connectQmp(target);
  clients.push(connected);
  return connected;
}

describe('--qmp-tcp, --qmp-clients, --qmp-dialect', () => {
  test('a port per guest, printed and listed, for so many clients, in that dialect', async () => {
    const [control, qmp] = [place.path('host.ctl'), place.path('qmp')];
    const dialect = ['--qmp-dialect', 'pve', '--qmp-clients', '2'];
    const host = await hostAndGuest([
      '--qmp-tcp',
      '0',
      '--qmp',
      qmp,
      '--control',
      control,
      ...dialect,
    ]);
    const address = await printed(host);
    for (const monitor of [await client(address), await client(address)]) {
      expect(await monitor.execute('query-balloon')).toEqual({
        actual: 64 * MIB,
        max_mem: 64 * MIB,
      });
    }
    const line = await LineClient.connect(control);
    const [summary] = await line.request<HostGuestSummary[]>({ verb: 'list' });
    line.close();
    const shown = [`${qmp}/vm0.qmp`, `127.0.0.1:${address.port}`];
    expect(summary?.qmp?.toSorted()).toEqual(shown.toSorted());
  });

  test('an address that others reach is refused in one line, exit 2', async () => {
    const { code, stdout, stderr } = await place.start(['host', '--qmp-tcp', '0.0.0.0:4450']).ended;
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^puff: other machines could reach QMP at 0\.0\.0\.0, .*\n$/);
  });
});

describe('--hotplug', () => {
  test('unplugs and plugs between two processes', async () => {
    const monitor = await client(
      await printed(await hostAndGuest(['--qmp-tcp', '0', '--hotplug'])),
    );
    const deleted = (async () => {
      for await (const { event, data } of monitor.events()) {
        if (event === 'DEVICE_DELETED' && data.device === 'balloon0') return;
      }
    })();
    expect(await monitor.execute('device_del', { id: 'balloon0' })).toEqual({});
    await deleted;
    await expect(monitor.execute('query-balloon')).rejects.toMatchObject({
      errorClass: 'DeviceNotActive',
    });
    await monitor.execute('device_add', { driver: 'virtio-balloon-pci', id: 'b1', bus: 'rp0' });
    const changed = monitor.events().next();
    await monitor.execute('balloon', { value: 60 * MIB });
    expect((await changed).value).toMatchObject({ event: 'BALLOON_CHANGE' });
  });

  test('pcie: the attention button is not pressed twice', async () => {
    const host = await hostAndGuest(['--qmp-tcp', '0', '--hotplug', 'pcie']);
    const monitor = await client(await printed(host));
    await monitor.execute('device_del', { id: 'balloon0' });
    await expect(monitor.execute('device_del', { id: 'balloon0' })).rejects.toMatchObject({
      desc: 'Device balloon0 is already in the process of unplug',
    });
  });
});
