import { describe, expect, it } from 'vitest';
import { balloonOf } from '../support/balloon-of.ts';
import { MemoryKeeper } from '../support/memory-keeper.ts';
import { DEVICES, TwoHosts } from '../support/two-hosts.ts';

/** Long enough for a guest that was cut off to be back, and then some. */
const BACK_MS = 1000;
/** Longer than a host waits for a guest whose link is lost. */
const GIVEN_UP_MS = 31_000;

describe('a second balloon device', () => {
  it('has its own host, target, book, and the same memory behind it', () => {
    const world = new TwoHosts();
    expect(world.states()).toEqual(['bound', 'bound']);
    world.setTarget(0, 700);
    world.setTarget(1, 300);
    expect(world.pages()).toEqual([700, 300]);
    expect(world.ledger(0)).toHaveLength(700);
    expect(world.ledger(1)).toHaveLength(300);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    world.expectNoFrameInTwoLedgers();
    world.verify();
    expect(world.vm(1).ramBytes).toBe(world.vm(0).ramBytes);
  });

  it('takes its pages out of MemTotal as the first does', () => {
    const world = new TwoHosts();
    const before = world.kernel.memory.allocator.memInfo().memTotal;
    world.setTarget(0, 700);
    world.setTarget(1, 300);
    expect(world.kernel.memory.allocator.memInfo().memTotal).toBe(before - 1000);
    world.setTarget(0, 0);
    expect(world.kernel.memory.allocator.memInfo().memTotal).toBe(before - 300);
  });

  it('is plugged in when the machine runs, not before its host has powered it on', () => {
    const world = new TwoHosts();
    const other = new TwoHosts();
    expect(world.guest.connectionStates).toEqual(['open', 'open']);
    other.hosts[0].vmm.close();
    expect(world.hosts[1].vmm.list().map(({ id }) => id)).toEqual(['b1']);
    const late = world.hosts[0].guest({
      ...{ id: 'late', memoryBytes: 64 * 2 ** 20 },
      balloons: [{ id: 'late-b1', dial: () => world.hosts[1].dial('late-b1') }],
    });
    world.pass(1);
    expect(late.connectionStates).toEqual(['idle', 'idle']);
    late.start();
    world.pass(1);
    expect(late.connectionStates).toEqual(['open', 'open']);
  });

  it('tells its statistics to its own host', () => {
    const world = new TwoHosts();
    balloonOf(world.vm(1)).pollingIntervalSeconds = 1;
    world.pass(2500);
    expect(balloonOf(world.vm(0)).stats.lastUpdateSeconds).toBe(0);
    expect(balloonOf(world.vm(1)).stats.lastUpdateSeconds).toBeGreaterThan(0);
  });
});

describe('power is the first host’s', () => {
  it('a pause by it stops both devices; what the second host said takes effect after', () => {
    const world = new TwoHosts();
    world.vm(0).stop();
    world.pass(1);
    expect(world.guest.power).toBe('paused');
    world.setTarget(1, 300);
    world.pass(1000);
    expect(world.pages()).toEqual([0, 0]);
    expect(world.balloon(1).driver.targetPages).toBe(300);
    world.vm(0).cont();
    world.pass(0);
    expect(world.pages()).toEqual([0, 300]);
    world.expectLedgerIsBook(1);
  });

  it('a pause by the second leaves the machine running, and its device unserved', () => {
    const world = new TwoHosts();
    world.setTarget(1, 100);
    world.vm(1).stop();
    world.setTarget(1, 400);
    world.setTarget(0, 500);
    expect(world.guest.power).toBe('running');
    expect(world.pages()[0]).toBe(500);
    world.pass(5000);
    expect(world.ledger(1)).toHaveLength(100);
    world.vm(1).cont();
    world.settle();
    expect(world.pages()).toEqual([500, 400]);
    world.expectLedgerIsBook(1);
    expect(world.balloon(1).refused.get('power_verbs_refused')).toBe(2);
    expect(world.balloon(0).refused.get('power_verbs_refused')).toBe(0);
  });

  it('a power-off by the second takes its device out; the pages come back', () => {
    const world = new TwoHosts();
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    const { memTotal } = world.kernel.memory.allocator.memInfo();
    world.vm(1).quit();
    world.pass(BACK_MS);
    expect(world.guest.power).toBe('running');
    expect(world.states()).toEqual(['bound', 'ejected']);
    expect(world.pages()).toEqual([200, 0]);
    expect(world.kernel.memory.allocator.memInfo().memTotal).toBe(memTotal + 300);
    expect(world.ends).toEqual([{ by: 'host', reason: 'host-qmp-quit' }]);
    expect(world.guest.connectionStates).toEqual(['open', 'closed']);
    world.setTarget(0, 400);
    expect(world.pages()).toEqual([400, 0]);
    world.verify();
  });

  it('a power-off by the second in the middle of a batch leaves no page behind', () => {
    const world = new TwoHosts();
    world.stopWhileInflating(1, 600);
    expect(world.balloon(1).driver.resizing).toBe(true);
    expect(world.ledger(1)).toEqual([]);
    world.vm(1).quit();
    world.pass(BACK_MS);
    expect(world.states()).toEqual(['bound', 'ejected']);
    expect(world.kernel.memory.balloons.bound()).toEqual([]);
    world.verify();
  });

  it('a power-off by the first ends the guest on both hosts', async () => {
    const world = new TwoHosts();
    world.vm(0).quit();
    world.pass(BACK_MS);
    expect(await world.guest.ended).toEqual({ by: 'host', reason: 'host-qmp-quit' });
    expect(world.guest.connectionStates).toEqual(['closed', 'closed']);
    expect(world.hosts.map(({ vmm }) => vmm.list())).toEqual([[], []]);
  });

  it('a guest that shuts down says bye to both hosts', async () => {
    const world = new TwoHosts();
    world.guest.shutdown('done');
    world.pass(BACK_MS);
    expect(await world.guest.ended).toEqual({ by: 'guest', reason: 'done' });
    expect(world.hosts.map(({ vmm }) => vmm.list())).toEqual([[], []]);
  });
});

describe('a connection that is lost', () => {
  it.each([0, 1])('of device %i resumes, and the other device is not disturbed', (lost) => {
    const world = new TwoHosts();
    const other = 1 - lost;
    world.setTarget(0, 100);
    world.setTarget(1, 100);
    world.vm(lost).cutLink();
    world.setTarget(lost, 900);
    world.setTarget(other, 700);
    expect(world.pages()[other]).toBe(700);
    world.expectLedgerIsBook(other);
    world.pass(BACK_MS);
    expect(world.pages()[lost]).toBe(900);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    expect(world.states()).toEqual(['bound', 'bound']);
    world.verify();
  });

  it.each([0, 1])(
    'to host %i, which dies: its successor is told that book and no other',
    (lost) => {
      const world = new TwoHosts();
      world.setTarget(0, 300);
      world.setTarget(1, 500);
      const told = world.hosts[1 - lost].trace(DEVICES[1 - lost]).length;
      world.hosts[lost].replaceHost();
      world.pass(BACK_MS);
      world.expectLedgerIsBook(lost);
      // The successor knows no target: its device deflates to all of RAM.
      expect(world.pages()[lost]).toBe(0);
      expect(world.pages()[1 - lost]).toBe([300, 500][1 - lost]);
      expect(world.hosts[1 - lost].trace(DEVICES[1 - lost])).toHaveLength(told);
      world.verify();
    },
  );

  it('for so long that the second host gives up: its device begins anew, and alone', () => {
    const world = new TwoHosts();
    world.setTarget(0, 300);
    world.setTarget(1, 500);
    const sessionOf = (): unknown => world.vm(0).session;
    const before = sessionOf();
    const dial = world.hosts[1].dial.bind(world.hosts[1]);
    world.hosts[1].dial = () => {
      const link = dial(DEVICES[1]);
      link.terminate();
      return link;
    };
    world.vm(1).cutLink();
    world.pass(GIVEN_UP_MS);
    expect(world.vm(1).runState).toBe('guest-panicked');
    expect(world.ledger(1)).toEqual([]);
    world.setTarget(0, 350);
    expect(world.pages()).toEqual([350, 500]);
    world.hosts[1].dial = dial;
    world.pass(10_000);
    expect(world.vm(1).runState).toBe('running');
    expect(world.pages()).toEqual([350, 500]);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    expect(sessionOf()).toBe(before);
    world.verify();
  });

  it('a host that does not take the device, now or again, leaves the guest running', () => {
    const world = new TwoHosts();
    world.setTarget(1, 200);
    // A later life of the same id takes the device's place on its host.
    const usurper = world.hosts[1].guest({ id: 'b1', memoryBytes: 64 * 2 ** 20, epoch: 2 });
    usurper.start();
    world.pass(BACK_MS);
    expect(world.ends).toEqual([expect.objectContaining({ by: 'refused' })]);
    expect(world.states()).toEqual(['bound', 'ejected']);
    expect(world.pages()).toEqual([0, 0]);
    expect(world.guest.power).toBe('running');
    world.setTarget(0, 100);
    expect(world.pages()).toEqual([100, 0]);
    world.verify();
  });
});

describe('hot plug by the second host', () => {
  it('unplugs and plugs its device, and the first keeps its pages', () => {
    const world = new TwoHosts({ hotplug: 'acpi', keeper: new MemoryKeeper() });
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    world.vm(1).slot?.requestUnplug();
    world.pass(10_000);
    expect(world.states()).toEqual(['bound', 'ejected']);
    expect(world.pages()).toEqual([200, 0]);
    world.expectLedgerIsBook(0);
    world.vm(1).slot?.plug({
      ...{ id: 'b1', typename: 'virtio-balloon-pci', properties: {} },
      pollingIntervalSeconds: 0,
    });
    world.pass(1);
    world.setTarget(1, 400);
    expect(world.pages()).toEqual([200, 400]);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    world.verify();
  });
});

describe('a successor of the second host whose slot is empty', () => {
  it('has the device taken out without a word: nobody is there to be told', () => {
    const keeper = new MemoryKeeper();
    const world = new TwoHosts({ hotplug: 'acpi', keeper });
    world.setTarget(0, 200);
    world.setTarget(1, 300);
    const [known] = keeper.list();
    keeper.put({ ...known, unplugged: true });
    world.hosts[1].replaceHost();
    world.pass(BACK_MS);
    expect(world.states()).toEqual(['bound', 'ejected']);
    expect(world.pages()).toEqual([200, 0]);
    expect(world.vm(1).counters.get('no_device_messages')).toBe(0);
    world.verify();
  });
});

describe('what any host may send', () => {
  it('descriptions of devices over and over to a paused guest: one task takes up the last', () => {
    const world = new TwoHosts();
    world.setTarget(1, 100);
    world.vm(0).stop();
    world.pass(1);
    const description = balloonOf(world.vm(1)).describe();
    for (let times = 0; times < 50; times++) world.balloon(1).handle(description);
    const waiting = [...world.kernel.scheduler.tasks()].filter(({ name }) => name === 'new host');
    expect(waiting).toHaveLength(1);
    world.vm(0).cont();
    world.pass(BACK_MS);
    expect(world.states()).toEqual(['bound', 'bound']);
  });
});
