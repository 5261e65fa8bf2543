import { beforeEach, describe, expect, it } from 'vitest';
import { dumpGuest, GuestControl } from '../../guest/control.ts';
import { DriverError } from '../../guest/drivers/driver-core.ts';
import { OOM_NOTIFY_PRIORITY } from '../../guest/drivers/virtio-balloon.ts';
import { PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import { MAX_BOOKS } from '../../guest/mm/page/page-map.ts';
import type { Waiting } from '../../guest/sched/scheduler.ts';
import { type GuestRequest, guestRequestSchema } from '../../shared/control/schemas.ts';
import { MAX_BALLOON_DEVICES } from '../../shared/limits.ts';
import { VIRTIO_BALLOON_OOM_NR_PAGES } from '../../shared/virtio/balloon.ts';
import { FAILED } from '../../shared/virtio/device-status.ts';
import { TwoHosts } from '../support/two-hosts.ts';

let world: TwoHosts;
beforeEach(() => {
  world = new TwoHosts();
});

/** A request to the guest's control channel, with what its answer came to. */
async function ask(request: object): Promise<unknown> {
  const parsed: GuestRequest = guestRequestSchema.parse(request);
  const answer = Promise.resolve(new GuestControl(new Map([['vm0', world.guest]])).handle(parsed));
  world.pass(1);
  return await answer;
}

describe('unbind and bind', () => {
  it('concern the device that is named: the other keeps its pages', async () => {
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    expect(await ask({ verb: 'unbind', device: 'b1' })).toEqual({ driver: 'unbound' });
    expect(world.states()).toEqual(['bound', 'unbound']);
    expect(world.pages()).toEqual([200, 0]);
    expect(world.ledger(0)).toHaveLength(200);
    world.verify();
    expect(await ask({ verb: 'bind', device: 'b1' })).toEqual({ driver: 'bound' });
    world.settle();
    expect(world.pages()).toEqual([200, 300]);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
  });

  it('concern the first device when none is named', async () => {
    expect(await ask({ verb: 'unbind' })).toEqual({ driver: 'unbound' });
    expect(world.states()).toEqual(['unbound', 'bound']);
  });

  it('name the device on its bus when they are refused', () => {
    const unbind = () => world.guest.verb('bind', world.balloon(1));
    expect(unbind).toThrow(DriverError);
    expect(unbind).toThrow('ENODEV: virtio1 is bound already');
  });

  it('of a device that the guest does not have are refused with those it has', async () => {
    const refused = /^guest vm0 has no balloon device 'b2'; there is vm0, b1$/;
    await expect(ask({ verb: 'unbind', device: 'b2' })).rejects.toThrow(refused);
    await expect(ask({ verb: 'dump', device: 'b2' })).rejects.toThrow(refused);
  });
});

describe('the module and the machine', () => {
  it('rmmod takes the driver off every device, insmod binds all again', () => {
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    world.guest.verb('rmmod');
    world.pass(1);
    expect(world.states()).toEqual(['unloaded', 'unloaded']);
    expect(world.kernel.memory.balloons.bound()).toEqual([]);
    world.guest.verb('insmod');
    world.settle();
    expect(world.states()).toEqual(['bound', 'bound']);
    expect(world.pages()).toEqual([200, 300]);
    world.verify();
  });

  it('rmmod is refused as a whole while one device is busy: nothing has changed', () => {
    world.setTarget(1, 300);
    world.vm(1).stop();
    world.guest.verb('unbind', world.balloon(1));
    expect(world.states()).toEqual(['bound', 'unbinding']);
    expect(() => world.guest.verb('rmmod')).toThrow(/the driver is unbinding/);
    expect(world.states()).toEqual(['bound', 'unbinding']);
  });

  it('rmmod and insmod pass by a device whose host has not said anything yet', () => {
    const late = world.hosts[0].guest({
      ...{ id: 'late', memoryBytes: 64 * 2 ** 20 },
      balloons: [{ id: 'later', dial: () => world.hosts[1].dial('later') }],
    });
    late.start();
    world.pass(0);
    const states = (): string[] => late.kernel.balloons.list.map(({ core }) => core.state);
    world.hosts[1].cut('later');
    late.verb('rmmod');
    world.pass(5000);
    expect(states()).toEqual(['unloaded', 'unloaded']);
    late.verb('insmod');
    world.pass(1);
    expect(states()).toEqual(['bound', 'bound']);
  });

  it('suspend and resume are for all devices that are bound', () => {
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    world.guest.verb('suspend');
    world.pass(1);
    expect(world.states()).toEqual(['suspended', 'suspended']);
    expect(world.pages()).toEqual([0, 0]);
    world.guest.verb('resume');
    world.settle();
    expect(world.states()).toEqual(['bound', 'bound']);
    expect(world.pages()).toEqual([200, 300]);
  });

  it('a device without a driver has no part in a suspend', () => {
    world.guest.verb('unbind', world.balloon(0));
    world.pass(1);
    world.guest.verb('suspend');
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'suspended']);
    expect(() => world.guest.verb('suspend')).toThrow(/EBUSY/);
    world.guest.verb('resume');
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'bound']);
  });
});

describe('free page reporting is registered once (page_reporting_register)', () => {
  const reporting = { 'free-page-reporting': true };

  it('a second device that offers it as well fails its probe with EBUSY', () => {
    const warnings: object[] = [];
    const nothing = (): void => {};
    const warn = (fields: object): void => void warnings.push(fields);
    const log = { debug: nothing, info: nothing, error: nothing, warn };
    world = new TwoHosts({ properties: [reporting, reporting], log });
    expect(world.states()).toEqual(['bound', 'unbound']);
    expect(world.balloon(1).device.status & FAILED).toBe(FAILED);
    expect(world.balloon(1).driver.book).toBeUndefined();
    expect(warnings).toEqual([expect.objectContaining({ device: 'virtio1', errno: 'EBUSY' })]);
    world.setTarget(1, 300);
    expect(world.pages()).toEqual([0, 0]);
    world.setTarget(0, 300);
    expect(world.pages()).toEqual([300, 0]);
  });

  it('and cannot be bound again before a reset, even when the first has let go (ENOENT)', () => {
    world = new TwoHosts({ properties: [reporting, reporting], hotplug: 'acpi' });
    world.guest.verb('unbind', world.balloon(0));
    world.pass(1);
    world.guest.verb('bind', world.balloon(1));
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'unbound']);
    world.vm(1).slot?.requestUnplug();
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'ejected']);
    world.vm(1).slot?.plug({
      ...{ id: 'again', typename: 'virtio-balloon-pci', properties: reporting },
      pollingIntervalSeconds: 0,
    });
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'bound']);
    world.guest.verb('bind', world.balloon(0));
    world.pass(1);
    expect(world.states()).toEqual(['unbound', 'bound']);
  });

  it('is the second’s where the first offers none', () => {
    world = new TwoHosts({ mib: 256, properties: [{}, reporting] });
    expect(world.states()).toEqual(['bound', 'bound']);
    world.pass(60_000);
    expect(world.vm(1).ledger.count('reported')).toBeGreaterThan(0);
    expect(world.vm(0).ledger.count('reported')).toBe(0);
    world.verify();
  });

  it('a suspend waits for the report that the host has, and reports go on after it', () => {
    world = new TwoHosts({ mib: 256, properties: [{}, reporting] });
    const { states } = world.kernel.memory.pages;
    const lentPages = (): number => states.countOf(PAGE_STATE.isolatedFree);
    world.vm(1).stop();
    world.pass(2500);
    expect(lentPages()).toBeGreaterThan(0);
    world.guest.verb('suspend');
    world.pass(10);
    expect(world.states()).toEqual(['suspended', 'freezing']);
    world.vm(1).cont();
    world.pass(10);
    expect(world.states()).toEqual(['suspended', 'suspended']);
    expect(lentPages()).toBe(0);
    const reported = world.vm(1).ledger.count('reported');
    world.guest.verb('resume');
    world.pass(60_000);
    expect(world.vm(1).ledger.count('reported')).toBeGreaterThan(reported);
    world.verify();
  });
});

describe('memory that is short', () => {
  const properties = { 'deflate-on-oom': true };

  it('asks every balloon, 256 pages of each', () => {
    world = new TwoHosts({ properties: [properties, properties] });
    world.setTarget(0, 2000);
    world.setTarget(1, 3000);
    const order: number[][] = [];
    const { oomNotifiers, scheduler } = world.kernel;
    oomNotifiers.register(OOM_NOTIFY_PRIORITY + 1, () => observe());
    oomNotifiers.register(OOM_NOTIFY_PRIORITY - 1, () => observe());
    function* observe(): Waiting<number> {
      yield 0;
      order.push(world.pages());
      return 0;
    }
    let freed = 0;
    scheduler.spawn(
      'out of memory',
      (function* () {
        freed = yield* oomNotifiers.call();
      })(),
    );
    world.pass(1);
    expect(freed).toBe(2 * VIRTIO_BALLOON_OOM_NR_PAGES);
    const left = [2000, 3000].map((pages) => pages - VIRTIO_BALLOON_OOM_NR_PAGES);
    expect(order).toEqual([[2000, 3000], left]);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
  });

  it('shrinks the hinted blocks of the device whose host started a round', () => {
    const hint = { 'free-page-hint': true };
    world = new TwoHosts({ properties: [hint, hint] });
    world.hosts[1].vmm.hint('b1', 'start');
    world.pass(100);
    const held = (): number[] => world.kernel.balloons.list.map(({ driver }) => driver.hintedPages);
    const [first, second] = held();
    expect(first).toBe(0);
    expect(second).toBeGreaterThan(0);
    world.kernel.shrinkers.shrink(0, world.kernel.vmstat);
    expect(held()).toEqual([0, 0]);
    world.verify();
  });
});

describe('a dump', () => {
  it('has every device, and shows the one named in its place', () => {
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    const dump = dumpGuest(world.guest, true);
    expect(dump).toMatchObject({ id: 'vm0', listPages: 200, connection: 'open' });
    const { balloons } = dump;
    expect(balloons.map(({ id, listPages }) => [id, listPages])).toEqual([
      ['vm0', 200],
      ['b1', 300],
    ]);
    expect([...(balloons[1].pfns ?? [])].sort((a, b) => a - b)).toEqual(world.ledger(1));
    expect(dump.pfns).toEqual(balloons[0].pfns);
    expect(dumpGuest(world.guest, false, 'b1')).toMatchObject({
      id: 'vm0',
      power: 'running',
      listPages: 300,
      balloons: [{ id: 'vm0' }, { id: 'b1', listPages: 300 }],
    });
  });
});

it('MAX_BALLOON_DEVICES: there is a book for each', () => {
  expect(MAX_BALLOON_DEVICES).toBeLessThanOrEqual(MAX_BOOKS);
});
