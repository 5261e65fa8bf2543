import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import {
  GuestRefused,
  type LibraryGuest,
  type LibraryHost,
  NotSettled,
  qmp,
  settled,
  startGuest,
  startHost,
} from '../../lab/index.ts';
import { codeBlocks, documents } from '../support/documents.ts';
import { ROOT } from '../support/puff.ts';

const MIB = 2 ** 20;
const directory = mkdtempSync(join(tmpdir(), 'puff-lib-'));
const open: (LibraryHost | LibraryGuest)[] = [];

afterEach(() => Promise.all(open.splice(0).map((one) => one.close())));
afterAll(() => rmSync(directory, { recursive: true }));

function opened<One extends LibraryHost | LibraryGuest>(one: One): One {
  open.push(one);
  return one;
}

describe('the library', () => {
  test('host and guest in this process, a monitor, settled', async () => {
    const device = 'virtio-balloon-pci,id=b0,deflate-on-oom=on';
    const host = opened(await startHost({ qmp: directory, device }));
    const choice = { connect: host.url, id: 'vm0', memory: '128M', workload: 'none' as const };
    const guest = opened(await startGuest(choice));
    expect(guest.guest.kernel.core.state).toBe('bound');
    expect(host.list()).toMatchObject([{ id: 'vm0', ramBytes: 128 * MIB, driverOk: true }]);
    const monitor = await qmp(join(directory, 'vm0.qmp'));
    await monitor.execute('balloon', { value: 64 * MIB });
    const { host: seen, dump } = await settled(host, guest);
    expect([seen.actualBytes, dump.listPages]).toEqual([64 * MIB, 16384]);
    const at = { path: '/machine/peripheral/b0', property: 'deflate-on-oom' };
    expect(await monitor.execute('qom-get', at)).toBe(true);
    await monitor.close();
  });

  test('a guest with two balloon devices, each settled with its own host', async () => {
    const [host, other] = [opened(await startHost()), opened(await startHost())];
    const balloons = [{ id: 'b1', connect: other.url }];
    const memory = { memory: '128M', workload: 'none' as const };
    const guest = opened(await startGuest({ connect: host.url, id: 'vm0', ...memory, balloons }));
    await settled(other, guest, { device: 'b1' });
    host.host.vmm.balloon('vm0', 100 * MIB);
    other.host.vmm.balloon('b1', 90 * MIB);
    const [first, second] = [
      await settled(host, guest),
      await settled(other, guest, { device: 'b1' }),
    ];
    expect([first.host.actualBytes, second.host.actualBytes]).toEqual([100 * MIB, 90 * MIB]);
    expect([first.dump.listPages, second.dump.listPages]).toEqual([7168, 9728]);
  });

  test('settled gives up in time and tells what both sides look like', async () => {
    const host = opened(await startHost());
    const guest = opened(await startGuest({ connect: host.url, id: 'vm0', memory: '64M' }));
    await guest.close();
    const waiting = settled(host, guest, { timeoutMs: 20 });
    await expect(waiting).rejects.toThrow(NotSettled);
    await expect(waiting).rejects.toThrow(/^vm0 is not settled after 20 ms: \{"host":null/);
  });

  test('what cannot be is told at once', async () => {
    const connect = 'ws://127.0.0.1:1';
    await expect(startGuest({ connect, id: '../vm0' })).rejects.toThrow("'../vm0' is no guest id");
    await expect(startGuest({ connect, id: 'a', memory: '1M' })).rejects.toThrow(/guest's RAM/);
    await expect(startGuest({ connect: 'vm', id: 'a' })).rejects.toThrow(TypeError);
    await expect(startHost({ device: 'e1000' })).rejects.toThrow(/not virtio-balloon-pci/);
    const host = opened(await startHost());
    const elsewhere = host.url.replace(/\/puff$/, '/other');
    await expect(startGuest({ connect: elsewhere, id: 'vm0' })).rejects.toThrow(GuestRefused);
  });
});

describe('the example of the README', () => {
  const [example] = codeBlocks(documents().get('README.md') ?? '').filter((block) => {
    return block.language === 'ts';
  });

  test('is a test that passes against the built package', async () => {
    const source = (example?.lines.join('\n') ?? '').replaceAll('/tmp', directory);
    expect(source).toContain("from 'puff-balloon'");
    writeFileSync(join(directory, 'example.test.ts'), source);
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
    const modules = join(directory, 'node_modules');
    symlinkSync(join(ROOT, 'node_modules'), modules);
    const alias = { 'puff-balloon': join(ROOT, 'dist/lab/index.js') };
    const config = `export default ${JSON.stringify({ resolve: { alias } })}`;
    writeFileSync(join(directory, 'vitest.config.js'), config);
    const vitest = join(ROOT, 'node_modules/vitest/vitest.mjs');
    const args = [vitest, 'run', '--root', directory, '--reporter=json'];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
    if (child.exitCode === null) await once(child, 'exit');
    expect([child.exitCode, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ numTotalTests: 1, numPassedTests: 1 });
    expect(existsSync(join(directory, 'vm0.qmp'))).toBe(false);
  }, 60_000);
});
