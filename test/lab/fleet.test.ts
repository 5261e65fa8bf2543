import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Fleet, FleetError, FleetTimeout, isSettled } from '../../lab/fleet.ts';
import { ProcessError } from '../../lab/process.ts';
import { ControlRequestError } from '../../shared/control/line-client.ts';

const MIB = 2 ** 20;

describe('a fleet of a host and two guests', () => {
  const guests = [
    { id: 'vm0', memoryBytes: 64 * MIB },
    { id: 'vm1', memoryBytes: 128 * MIB, workload: 'none' as const, linux: '6.12' as const },
  ];
  const fleet = new Fleet({ guests, trace: true, seed: 7, hostArgs: ['--qemu-version', '9.0.1'] });
  beforeAll(() => fleet.start());
  afterAll(() => fleet.stop());

  test('start: every guest’s driver is up, every socket is in the folder', async () => {
    const files = readdirSync(fleet.directory).sort();
    expect(files).toEqual([
      ...['host.ctl', 'vm0.ctl', 'vm0.qmp', 'vm0.wire.jsonl'],
      ...['vm1.ctl', 'vm1.qmp', 'vm1.wire.jsonl'],
    ]);
    expect((await fleet.look('vm0')).dump).toMatchObject({ id: 'vm0', driver: 'bound' });
    expect((await fleet.look('vm1')).host).toMatchObject({ id: 'vm1', ramBytes: 128 * MIB });
    expect(fleet.about).toMatch(
      new RegExp(`^host is process \\d+, vm0 \\d+, vm1 \\d+; files in ${fleet.directory}$`),
    );
  });

  test('settled: both sides agree frame by frame', async () => {
    await fleet.host({ verb: 'balloon', guest: 'vm1', bytes: 96 * MIB });
    const { host, dump } = await fleet.settled('vm1');
    expect(host.actualBytes).toBe(96 * MIB);
    expect(dump.listPages).toBe((32 * MIB) / 4096);
    expect(await fleet.sameFrames('vm1')).toEqual({ equal: true, pages: dump.listPages });
  });

  test('qmp reaches the monitor of the guest', async () => {
    const client = await fleet.qmp('vm1');
    expect(client.greeting.version).toEqual({ major: 9, minor: 0, micro: 1 });
    expect(await client.execute('query-balloon')).toEqual({ actual: 96 * MIB });
    await client.close();
  });

  test('until gives up in time, with what both sides look like', async () => {
    const waiting = fleet.until('vm0', () => false, { timeoutMs: 30, everyMs: 1 });
    await expect(waiting).rejects.toThrow(FleetTimeout);
    await expect(waiting).rejects.toThrow(/^vm0 did not get there in 30 ms: \{"host":.*"dump":/);
  });

  test('one more guest may join; who never did is told', async () => {
    await fleet.startGuest({ id: 'vm2', memoryBytes: 64 * MIB });
    expect((await fleet.look('vm2')).host.connected).toBe(true);
    await expect(fleet.look('vm3')).rejects.toThrow(FleetError);
    await expect(fleet.host({ verb: 'cut', guest: 'vm3' })).rejects.toThrow(ControlRequestError);
  });

  test('stop ends what is under way and leaves nothing; nobody is started then', async () => {
    const waiting = fleet.until('vm0', () => false);
    await Promise.all([
      expect(waiting).rejects.toThrow('the control channel was closed'),
      fleet.stop(),
      fleet.stop(),
    ]);
    expect(existsSync(fleet.directory)).toBe(false);
    const late = fleet.startGuest({ id: 'vm9', memoryBytes: 64 * MIB });
    await expect(late).rejects.toThrow('the fleet was stopped');
  });
});

describe.concurrent('a fleet that does not start', () => {
  test('the host’s own line is the error; stop leaves nothing', async () => {
    const fleet = new Fleet({ guests: [], device: 'e1000' });
    const starting = fleet.start();
    await expect(starting).rejects.toThrow(ProcessError);
    await expect(starting).rejects.toThrow(
      /^puff host ended with code 2: .*not virtio-balloon-pci/,
    );
    await fleet.stop();
    expect(existsSync(fleet.directory)).toBe(false);
  });

  test('one guest that cannot start; those that did are ended by stop', async () => {
    const good = { id: 'vm0', memoryBytes: 64 * MIB };
    const fleet = new Fleet({ guests: [good, { id: 'vm1', memoryBytes: MIB }] });
    await expect(fleet.start()).rejects.toThrow(/^puff guest ended with code 2: .*guest's RAM/);
    await fleet.stop();
    expect(existsSync(fleet.directory)).toBe(false);
  });

  test('stopped while it starts', async () => {
    const fleet = new Fleet({ guests: [{ id: 'vm0', memoryBytes: 64 * MIB }] });
    const starting = fleet.start();
    await Promise.all([expect(starting).rejects.toThrow(), fleet.stop()]);
    expect(existsSync(join(fleet.directory, 'host.ctl'))).toBe(false);
  });

  test('before start nobody is there to ask', async () => {
    const fleet = new Fleet({ guests: [] });
    await expect(fleet.host({ verb: 'list' })).rejects.toThrow('the host is not up');
    await expect(fleet.guest('vm0', { verb: 'dump' })).rejects.toThrow('guest vm0 is not up');
    await fleet.stop();
  });
});

describe('isSettled', () => {
  const host = {
    ...{ id: 'vm0', status: 'running', connected: true, driverOk: true, ramBytes: 64 * MIB },
    ...{ targetBytes: 60 * MIB, actualBytes: 60 * MIB, ledgerPages: 1024, buffersInFlight: 0 },
  };
  const dump = {
    ...{ id: 'vm0', power: 'running', connection: 'open', driver: 'bound', status: 15 },
    ...{
      features: '',
      numPages: 1024,
      targetPages: 1024,
      listPages: 1020,
      isolatedPages: 4,
      hintedPages: 0,
    },
    ...{ buffersInFlight: 1, resizing: false, canariesWrong: 0, statistics: {} },
    ...{ processes: [], tasks: [], freeBlocks: [], hugePages: 0, hugePages1G: 0, compaction: {} },
    swap: { pages: 0, freePages: 0 },
    refused: { discard_pages_refused: 0, power_verbs_refused: 0 },
    balloons: [],
  };

  test('all agree: isolated pages count, the statistics buffer does not', () => {
    expect(isSettled({ host, dump })).toBe(true);
  });

  test.each([
    ['actual is on its way', { actualBytes: 61 * MIB }, {}],
    ['the target moved', { targetBytes: 59 * MIB, actualBytes: 59 * MIB }, {}],
    ['the ledger differs', { ledgerPages: 1023 }, {}],
    ['the list differs', {}, { listPages: 1019 }],
    ['the resize work is queued', {}, { resizing: true }],
    ['a buffer is in flight', { buffersInFlight: 1 }, {}],
  ])('not while %s', (_what, hostChange, dumpChange) => {
    expect(isSettled({ host: { ...host, ...hostChange }, dump: { ...dump, ...dumpChange } })).toBe(
      false,
    );
  });
});
