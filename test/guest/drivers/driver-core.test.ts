import { describe, expect, it } from 'vitest';
import { OUT_OF_PUFF_SLEEP_MS } from '../../../guest/drivers/balloon-batch.ts';
import { DriverError } from '../../../guest/drivers/driver-core.ts';
import { msleepMs } from '../../../guest/sched/jiffies.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { HeldGuest } from '../../support/held-guest.ts';

const RAM = 256 * MIB;

/** Status values and the number of deflate buffers since `from`, as the wire saw them. */
function wireSince(held: HeldGuest, from: number) {
  const events = held.trace.slice(from);
  return {
    status: events.flatMap((event) => (event.ev === 'status' ? [event.val] : [])),
    deflated: events.filter((event) => event.ev === 'buf' && event.queue === 'deflate').length,
    actual: events.flatMap((event) => (event.ev === 'config-set' ? [event.actual] : [])),
  };
}

describe('unbind and bind', () => {
  it('deflate everything before the reset, and leave the device acknowledged', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 4 * MIB);
    const from = held.trace.length;
    held.guest.verb('unbind');
    held.run();
    expect(wireSince(held, from)).toEqual({ status: [0, 1], deflated: 4, actual: [0] });
    expect(held.guest.kernel.core.state).toBe('unbound');
    expect(held.session.vm('vm0').ledger.balloonPages).toBe(0);
  });

  it('inflate to the kept target again', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 4 * MIB);
    held.guest.verb('unbind');
    held.run();
    const from = held.trace.length;
    held.guest.verb('bind');
    held.run();
    expect(wireSince(held, from).status).toEqual([3, 11, 15]);
    expect(held.driver.numPages).toBe(1024);
  });

  it('wait for a batch that is under way', () => {
    const held = new HeldGuest({ hold: true });
    held.setTarget(RAM - 4 * MIB);
    const task = held.guest.verb('unbind');
    held.run(1000);
    expect(task.ended).toBe(false);
    held.holding = false;
    held.release();
    expect(task.ended).toBe(true);
    expect(held.guest.kernel.memory.verify()).toEqual([]);
  });
});

describe('rmmod and insmod', () => {
  it('do to the device what unbind and bind do', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 2 * MIB);
    held.guest.verb('rmmod');
    held.run();
    expect(held.guest.kernel.core.state).toBe('unloaded');
    expect(held.driver.numPages).toBe(0);
    held.guest.verb('insmod');
    held.run();
    expect(held.guest.kernel.core.state).toBe('bound');
    expect(held.driver.numPages).toBe(512);
  });

  it('in a paused guest are done when it runs, each for itself', () => {
    const held = new HeldGuest();
    held.guest.verb('unbind');
    held.run();
    held.session.vm('vm0').stop();
    held.run();
    const from = held.trace.length;
    held.guest.verb('rmmod');
    held.guest.verb('insmod');
    held.session.vm('vm0').cont();
    held.run();
    expect(wireSince(held, from).status).toEqual([3, 11, 15]);
    expect(held.guest.kernel.core.state).toBe('bound');
  });
});

describe('suspend and resume', () => {
  it('deflate and reset, then initialise and inflate again (freeze and restore)', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 2 * MIB);
    const from = held.trace.length;
    held.guest.verb('suspend');
    held.run();
    expect(wireSince(held, from)).toEqual({ status: [0], deflated: 2, actual: [0] });
    held.run(60_000);
    expect(held.driver.numPages).toBe(0);
    held.guest.verb('resume');
    held.run();
    expect(wireSince(held, from).status).toEqual([0, 0, 1, 3, 11, 15]);
    expect(held.driver.numPages).toBe(512);
  });
});

describe('a verb that the driver’s state forbids', () => {
  it.each([
    ['bind', []],
    ['insmod', []],
    ['resume', []],
    ['unbind', ['unbind']],
    ['suspend', ['unbind']],
    ['bind', ['rmmod']],
    ['rmmod', ['rmmod']],
    ['unbind', ['suspend']],
  ] as const)('%s after %j is refused and changes nothing', (verb, before) => {
    const held = new HeldGuest();
    for (const earlier of before) held.guest.verb(earlier);
    held.run();
    const { state } = held.guest.kernel.core;
    expect(() => held.guest.verb(verb)).toThrow(DriverError);
    expect(held.guest.kernel.core.state).toBe(state);
  });
});

describe('hypervisor verbs', () => {
  it('a paused guest runs no task and is sent no interrupt until it runs again', () => {
    const held = new HeldGuest();
    const vm = held.session.vm('vm0');
    vm.stop();
    held.run();
    held.setTarget(RAM - 2 * MIB);
    held.run(10_000);
    expect(held.guest.power).toBe('paused');
    expect(held.buffers('inflate')).toHaveLength(0);
    vm.cont();
    held.run();
    expect(held.driver.numPages).toBe(512);
  });

  it('the 200 ms pause of the driver does not pass while the guest is paused', () => {
    const held = new HeldGuest({ memoryBytes: 64 * MIB });
    const vm = held.session.vm('vm0');
    held.setTarget(MIB);
    const told = held.buffers('inflate').length;
    const pauseMs = msleepMs(1, OUT_OF_PUFF_SLEEP_MS);
    held.run(150);
    vm.stop();
    held.run(10_000);
    vm.cont();
    held.run(pauseMs - 151);
    expect(held.buffers('inflate')).toHaveLength(told);
    held.run(1);
    expect(held.buffers('inflate').length).toBeGreaterThan(told);
  });

  it('quit powers the guest off', async () => {
    const held = new HeldGuest();
    held.session.vm('vm0').quit();
    held.run(10);
    expect(await held.guest.ended).toEqual({ by: 'host', reason: 'host-qmp-quit' });
  });

  it('a guest that shuts down tells its host', () => {
    const held = new HeldGuest();
    const events: unknown[] = [];
    held.session.vm('vm0').onEvent(({ event, data }) => events.push({ event, data }));
    held.guest.shutdown('guest-shutdown');
    held.run(10);
    expect(events).toEqual([
      { event: 'SHUTDOWN', data: { guest: true, reason: 'guest-shutdown' } },
    ]);
  });
});
