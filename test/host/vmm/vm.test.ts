import { describe, expect, it } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import type { Departure } from '../../../host/vmm/guest-keeper.ts';
import type { MachineEvent } from '../../../host/vmm/machine.ts';
import { Vm } from '../../../host/vmm/vm.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { MAX_RETAINED_MESSAGES, RESUME_WINDOW_MS } from '../../../shared/limits.ts';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { type Avail, Op } from '../../../shared/protocol/messages.ts';
import { encodeStats } from '../../../shared/virtio/stats.ts';
import { balloonOf } from '../../support/balloon-of.ts';
import { GuestEnd, helloOf, opName, RAM_BYTES } from './guest-end.ts';

const NOTHING = new Uint8Array(0);
const inflate = (id: number, ...pfns: number[]): Avail => [
  Op.avail,
  0,
  id,
  writePfns(pfns),
  NOTHING,
];

interface Setup {
  readonly clock: VirtualClock;
  readonly vm: Vm;
  readonly events: MachineEvent[];
  readonly gone: Departure[];
}

function newVm(targetBytes?: number): Setup {
  const clock = new VirtualClock(1_000_000);
  const gone: Departure[] = [];
  let sessions = 0;
  const vm = new Vm({
    hello: helloOf(),
    clock,
    log: SILENT,
    device: { qomId: 'balloon0', properties: DEFAULT_PROPERTIES, policy: QEMU_POLICY },
    ...(targetBytes === undefined ? {} : { targetBytes }),
    newSessionName: () => `session ${++sessions}`,
    onGone: (_, departure) => gone.push(departure),
  });
  const events: MachineEvent[] = [];
  vm.onEvent((event) => events.push(event));
  vm.newSession();
  return { clock, vm, events, gone };
}

function running(): Setup & { guest: GuestEnd } {
  const setup = newVm();
  const guest = new GuestEnd(setup.vm);
  guest.bringUp();
  return { ...setup, guest };
}

const names = (events: readonly MachineEvent[]): string[] => events.map(({ event }) => event);

describe('a machine', () => {
  it('is described to its guest first of all', () => {
    const { vm } = newVm();
    const guest = new GuestEnd(vm);
    expect(guest.sent.map(opName)).toEqual(['device']);
    expect(vm.ramBytes).toBe(RAM_BYTES);
    expect(vm.runState).toBe('running');
    expect(vm.connected).toBe(true);
  });

  it('emits BALLOON_CHANGE with what remains to the guest, when actual changed', () => {
    const { events, guest, clock } = running();
    clock.advanceTo(250);
    guest.say([Op.configWrite, 4, writePfns([256])], [Op.configWrite, 4, writePfns([256])]);
    expect(events).toEqual([
      { event: 'BALLOON_CHANGE', data: { actual: RAM_BYTES - 256 * 4096 }, wallMs: 1_000_250 },
    ]);
  });

  it('tells no listener that has unsubscribed', () => {
    const { vm } = running();
    const heard: MachineEvent[] = [];
    const unsubscribe = vm.onEvent((event) => heard.push(event));
    vm.stop();
    unsubscribe();
    vm.cont();
    expect(names(heard)).toEqual(['STOP']);
  });
});

describe('stop and cont', () => {
  it('emit STOP and RESUME before they return, once', () => {
    const { vm, events } = running();
    vm.stop();
    expect(names(events)).toEqual(['STOP']);
    vm.stop();
    vm.cont();
    expect(names(events)).toEqual(['STOP', 'RESUME']);
    vm.cont();
    expect(events).toHaveLength(2);
    expect(vm.runState).toBe('running');
  });

  it('send the guest pause and run', () => {
    const { vm, guest } = running();
    vm.stop();
    vm.cont();
    expect(guest.news().map(opName)).toEqual(['pause', 'run']);
  });

  it('H4: a paused machine takes no message of its driver until it runs', () => {
    const { vm, guest } = running();
    vm.stop();
    expect(guest.paused).toBe(true);
    vm.cont();
    expect(guest.paused).toBe(false);
  });

  it('H4: a paused machine sends no interrupt; a new target comes after run', () => {
    const { vm, guest } = running();
    vm.stop();
    balloonOf(vm).setTargetBytes(4096);
    balloonOf(vm).setTargetBytes(8192);
    expect(guest.news().map(opName)).toEqual(['pause']);
    vm.cont();
    expect(guest.news().map(opName)).toEqual(['run', 'config']);
    expect(balloonOf(vm).targetBytes).toBe(8192);
  });

  it('H4: the statistics timer stands still with the machine', () => {
    const { vm, guest, clock } = running();
    guest.say([Op.avail, 2, 0, encodeStats([['swap-in', 1n]]), NOTHING]);
    vm.stop();
    balloonOf(vm).pollingIntervalSeconds = 1;
    clock.advanceBy(60_000);
    expect(guest.news().map(opName)).toEqual(['pause']);
    vm.cont();
    clock.advanceBy(0);
    expect(guest.news().map(opName)).toEqual(['run', 'used']);
  });

  it('hold for a link that comes while the machine is paused', () => {
    const { vm, guest } = running();
    vm.stop();
    const received = guest.sent.length;
    guest.terminate();
    const back = new GuestEnd(vm, 'resume', received);
    expect(back.paused).toBe(true);
    expect(back.sent).toEqual([]);
    vm.cont();
    expect(back.sent.map(opName)).toEqual(['run']);
    expect(back.paused).toBe(false);
  });
});

describe('the end of a machine', () => {
  it('quit: SHUTDOWN by the host, power off for the guest, link closed', () => {
    const { vm, guest, events, gone } = running();
    vm.quit();
    expect(events.map(({ event, data }) => ({ event, data }))).toEqual([
      { event: 'SHUTDOWN', data: { guest: false, reason: 'host-qmp-quit' } },
    ]);
    expect(guest.news()).toEqual([[Op.powerOff, 'host-qmp-quit']]);
    expect(guest.closed).toBe('power-off');
    expect(gone).toEqual(['power-off']);
    expect(vm.runState).toBe('shutdown');
  });

  it('bye: SHUTDOWN by the guest', () => {
    const { guest, events, gone } = running();
    guest.say([Op.bye, 'halt']);
    expect(events[0]).toMatchObject({
      event: 'SHUTDOWN',
      data: { guest: true, reason: 'guest-shutdown' },
    });
    expect(guest.closed).toBe('guest-gone');
    expect(gone).toEqual(['guest-gone']);
  });

  it('comes once', () => {
    const { vm, events, gone } = running();
    vm.quit();
    vm.quit();
    vm.stop();
    vm.cont();
    expect(events).toHaveLength(1);
    expect(gone).toHaveLength(1);
  });

  it('works for a paused machine and for one without a link', () => {
    const { vm, guest, events, clock } = running();
    vm.stop();
    guest.terminate();
    vm.quit();
    clock.advanceBy(2 * RESUME_WINDOW_MS);
    expect(names(events)).toEqual(['STOP', 'SHUTDOWN']);
  });

  it('on a host that ends is SHUTDOWN by a signal; the guest is not powered off', () => {
    const { vm, guest, events } = running();
    vm.hostGoing();
    expect(events[0]?.data).toEqual({ guest: false, reason: 'host-signal' });
    expect(guest.news()).toEqual([]);
  });
});

describe('a lost link', () => {
  it('loses and repeats nothing when it comes back in time', () => {
    const { vm, guest, events, clock } = running();
    guest.say(inflate(0, 1, 2));
    const received = guest.sent.length - 1;
    guest.terminate();
    expect(vm.connected).toBe(false);
    clock.advanceBy(RESUME_WINDOW_MS - 1);
    const back = new GuestEnd(vm, 'resume', received);
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(back.sent).toEqual([[Op.used, 0, 0, 0]]);
    expect(vm.runState).toBe('running');
    expect(vm.ledger.balloonPages).toBe(2);
    expect(events).toEqual([]);
  });

  it('joins what the guest is to be told meanwhile', () => {
    const { vm, guest } = running();
    const received = guest.sent.length;
    guest.terminate();
    for (let bytes = 1; bytes <= 3 * MAX_RETAINED_MESSAGES; bytes++) {
      balloonOf(vm).setTargetBytes(4096 * (bytes % 1000) + 1);
    }
    const back = new GuestEnd(vm, 'resume', received);
    expect(back.sent.map(opName)).toEqual(['config']);
    expect(back.closed).toBeUndefined();
  });

  it('that stays away is a dead guest: GUEST_PANICKED, STOP, device and ledger empty', () => {
    const { vm, guest, events, clock } = running();
    guest.say(inflate(0, 1, 2), [Op.configWrite, 4, writePfns([2])]);
    balloonOf(vm).setTargetBytes(RAM_BYTES - 8192);
    guest.terminate();
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(events.slice(1).map(({ event, data }) => ({ event, data }))).toEqual([
      { event: 'GUEST_PANICKED', data: { action: 'pause' } },
      { event: 'STOP', data: undefined },
    ]);
    expect(vm.runState).toBe('guest-panicked');
    expect(vm.ledger.balloonPages).toBe(0);
    expect(vm.counters.get('emptied_pages')).toBe(2);
    expect(balloonOf(vm).actualBytes).toBe(RAM_BYTES);
    expect(balloonOf(vm).targetBytes).toBe(RAM_BYTES - 8192);
    expect(vm.session).toBeUndefined();
    vm.cont();
    expect(vm.runState).toBe('guest-panicked');
  });

  it('of a paused machine: no second STOP', () => {
    const { vm, guest, events, clock } = running();
    vm.stop();
    guest.terminate();
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(names(events)).toEqual(['STOP', 'GUEST_PANICKED']);
  });

  it('with more messages waiting than are kept is a dead guest at once', () => {
    const { vm, guest, clock } = running();
    const verbs = (): void => {
      vm.stop();
      vm.cont();
    };
    guest.terminate();
    for (let sent = 0; sent <= MAX_RETAINED_MESSAGES / 2; sent++) verbs();
    clock.advanceBy(0);
    expect(vm.runState).toBe('guest-panicked');
    expect(vm.session).toBeUndefined();
  });
});

describe('a power-on of a known guest', () => {
  it('after its death: RESET, RESUME, a new device with the target kept', () => {
    const { vm, guest, events, clock } = running();
    balloonOf(vm).setTargetBytes(RAM_BYTES - 4096);
    balloonOf(vm).pollingIntervalSeconds = 5;
    guest.terminate();
    clock.advanceBy(RESUME_WINDOW_MS);
    vm.restart(helloOf({ epoch: 2 }));
    vm.newSession();
    expect(names(events)).toEqual(['GUEST_PANICKED', 'STOP', 'RESET', 'RESUME']);
    expect(events[2]?.data).toEqual({ guest: true, reason: 'guest-reset' });
    expect(vm.runState).toBe('running');
    expect(vm.epoch).toBe(2);
    const back = new GuestEnd(vm);
    expect(back.sent.map(opName)).toEqual(['device']);
    const config = back.sent[0]?.[6] as Uint8Array;
    expect([...config.slice(0, 8)]).toEqual([1, 0, 0, 0, 0, 0, 0, 0]);
    expect(balloonOf(vm).pollingIntervalSeconds).toBe(5);
  });

  it('in place of one that lives: RESET, values of its statistics are gone', () => {
    const { vm, guest, events } = running();
    guest.say(inflate(0, 1), [Op.avail, 2, 0, encodeStats([['swap-in', 1n]]), NOTHING]);
    vm.closeLink('replaced');
    vm.restart(helloOf({ epoch: 2 }));
    expect(guest.closed).toBe('replaced');
    expect(names(events)).toEqual(['RESET']);
    expect(balloonOf(vm).stats).toEqual({ values: {}, lastUpdateSeconds: 0 });
    expect(vm.ledger.balloonPages).toBe(0);
  });

  it('on a paused machine: it stays paused and the guest is told so', () => {
    const { vm, guest } = running();
    vm.stop();
    guest.terminate();
    vm.restart(helloOf({ epoch: 2 }));
    vm.newSession();
    const back = new GuestEnd(vm);
    expect(back.sent.map(opName)).toEqual(['device', 'pause']);
    expect(back.paused).toBe(true);
    balloonOf(vm).setTargetBytes(4096);
    vm.cont();
    expect(back.news().map(opName)).toEqual(['device', 'pause', 'run', 'config']);
  });

  it('with another size of RAM: the ledger follows, a target above it means all', () => {
    const { vm } = running();
    balloonOf(vm).setTargetBytes(RAM_BYTES / 2);
    vm.restart(helloOf({ epoch: 2, regions: [{ start: 0, count: 4096 }] }));
    expect(vm.ramBytes).toBe(4096 * 4096);
    expect(balloonOf(vm).targetBytes).toBe(vm.ramBytes);
    expect(vm.ledger.pageCount).toBe(4096);
  });

  it('that was never given a target keeps all of a larger RAM', () => {
    const { vm } = running();
    vm.restart(helloOf({ epoch: 2, regions: [{ start: 0, count: 65_536 }] }));
    expect(balloonOf(vm).targetBytes).toBe(65_536 * 4096);
  });
});
