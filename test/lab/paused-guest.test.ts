import { expect, test } from 'vitest';
import { startGuest, startHost } from '../../lab/index.ts';

test('a host closes although a guest left while its machine was paused', async () => {
  const host = await startHost();
  const guest = await startGuest({ connect: host.url, id: 'vm0', memory: '64M', workload: 'none' });
  host.host.vmm.vm('vm0').stop();
  await guest.close();
  await host.close();
  expect(host.list()).toEqual([]);
});
