import { beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import type { Vm } from '../../../host/vmm/vm.ts';
import { UnknownGuestError, Vmm } from '../../../host/vmm/vmm.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { MAX_GUEST_PAGES, MAX_HOST_PAGES, RESUME_WINDOW_MS } from '../../../shared/limits.ts';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import type { GuestHello } from '../../../shared/transport/hello.ts';
import { balloonOf } from '../../support/balloon-of.ts';
import { GuestEnd, helloOf, RAM_BYTES } from './guest-end.ts';

const MAX_TEST_GUESTS = 3;

let clock: VirtualClock;
let vmm: Vmm;
let added: string[];
let removed: string[];

beforeEach(() => {
  clock = new VirtualClock();
  added = [];
  removed = [];
  let sessions = 0;
  vmm = new Vmm({
    clock,
    deviceFor: (id) => ({
      qomId: `balloon of ${id}`,
      properties: DEFAULT_PROPERTIES,
      policy: QEMU_POLICY,
    }),
    newSessionName: () => `session ${++sessions}`,
    onGuestAdded: (vm: Vm) => added.push(vm.id),
    onGuestRemoved: (vm: Vm) => removed.push(vm.id),
    maxGuests: MAX_TEST_GUESTS,
  });
});

/** Says hello and, where it is let in, opens the link. */
function enter(changes: Partial<GuestHello> = {}): { said: string; end: GuestEnd | undefined } {
  const hello = helloOf(changes);
  const admission = vmm.admit(hello);
  if (admission.kind === 'refuse') return { said: admission.error, end: undefined };
  const vm = vmm.vm(hello.guestId);
  expect(admission.session).toBe(vm.session);
  const received = admission.kind === 'resume' ? hello.received : 0;
  return { said: admission.kind, end: new GuestEnd(vm, admission.kind, received) };
}

const sessionOf = (id = 'vm0'): string => vmm.vm(id).session?.name ?? '';

describe('admission of guests', () => {
  it('powers a new guest on with the device that was chosen for it', () => {
    expect(enter().said).toBe('power-on');
    expect(balloonOf(vmm.vm('vm0')).qomId).toBe('balloon of vm0');
    expect(added).toEqual(['vm0']);
  });

  it('resumes a session it knows, once its link is gone or in the place of that link', () => {
    const { end } = enter();
    end?.terminate();
    expect(enter({ session: sessionOf(), received: 1 }).said).toBe('resume');
    const second = enter({ session: sessionOf(), received: 1 });
    expect(second.said).toBe('resume');
    expect(added).toHaveLength(1);
    expect(vmm.counters.get('power_ons')).toBe(1);
  });

  it('refuses a second guest of the same id and epoch, and one of an earlier epoch', () => {
    enter({ epoch: 5 }).end?.say([Op.status, 0]);
    expect(enter({ epoch: 5 }).said).toBe('duplicate-guest');
    expect(enter({ epoch: 4 }).said).toBe('stale-epoch');
    expect(vmm.counters.get('admissions_refused')).toBe(2);
  });

  it('powers on anew over a link on which it never heard the guest: its welcome was lost', () => {
    const { end } = enter({ epoch: 5 });
    expect(enter({ epoch: 5 }).said).toBe('power-on');
    expect(end?.closed).toBe('replaced');
    expect(vmm.counters.get('power_ons')).toBe(2);
  });

  it('lets a later epoch take the place of a guest that is connected', () => {
    const { end } = enter({ epoch: 5 });
    const first = vmm.vm('vm0');
    expect(enter({ epoch: 6 }).said).toBe('power-on');
    expect(end?.closed).toBe('replaced');
    expect(vmm.vm('vm0')).toBe(first);
    expect(added).toHaveLength(1);
  });

  it('powers on anew when the session that is named is not known, as after a host’s death', () => {
    expect(enter({ session: 'of another host', received: 900 }).said).toBe('power-on');
  });

  it('refuses more guests than MAX_GUESTS; one that is known still comes in', () => {
    for (let index = 0; index < MAX_TEST_GUESTS; index++) enter({ guestId: `vm${index}` });
    expect(enter({ guestId: 'vm9' }).said).toBe('MAX_GUESTS');
    expect(enter({ guestId: 'vm0', epoch: 2 }).said).toBe('power-on');
    vmm.vm('vm1').quit();
    expect(enter({ guestId: 'vm9' }).said).toBe('power-on');
  });

  it('refuses RAM beyond MAX_HOST_PAGES, and forgets that of a guest that shut down', () => {
    const huge = [{ start: 0, count: MAX_HOST_PAGES }];
    expect(enter({ guestId: 'vm1', regions: huge }).said).toBe('power-on');
    expect(enter({ guestId: 'vm2' }).said).toBe('bad-ram');
    expect(vmm.vms.size).toBe(1);
    vmm.vm('vm1').quit();
    expect(enter({ guestId: 'vm2' }).said).toBe('power-on');
    expect(enter({ guestId: 'vm2', epoch: 2, regions: huge }).said).toBe('power-on');
    expect(enter({ guestId: 'vm3' }).said).toBe('bad-ram');
  });

  it('refuses a later life that has more RAM than is left, and keeps the one before it', () => {
    enter({ guestId: 'vm1' });
    enter({ guestId: 'vm2' });
    const { pageCount } = vmm.vm('vm1').ledger;
    const tooMuch = [{ start: 0, count: MAX_HOST_PAGES - pageCount + 1 }];
    expect(enter({ guestId: 'vm2', epoch: 2, regions: tooMuch }).said).toBe('bad-ram');
    expect([vmm.vm('vm2').epoch, vmm.vm('vm2').connected]).toEqual([1, true]);
    const allThereIs = [{ start: 0, count: MAX_HOST_PAGES - pageCount }];
    expect(enter({ guestId: 'vm2', epoch: 2, regions: allThereIs }).said).toBe('power-on');
  });

  it('costs nothing for RAM that is announced and not used', () => {
    enter({ regions: [{ start: 0, count: MAX_GUEST_PAGES }] });
    expect(vmm.ledger('vm0').ledgerBytes).toBe(0);
  });

  it('does not resume a session that was given up', () => {
    const { end } = enter();
    const session = sessionOf();
    end?.terminate();
    clock.advanceBy(RESUME_WINDOW_MS);
    expect(enter({ session, received: 1 }).said).toBe('power-on');
    expect(vmm.vm('vm0').runState).toBe('running');
    expect(vmm.counters.get('guests_dead')).toBe(1);
  });
});

describe('a guest that shut down', () => {
  it('is gone for controllers', () => {
    enter();
    vmm.vm('vm0').quit();
    expect(removed).toEqual(['vm0']);
    expect(vmm.list()).toEqual([]);
    expect(() => vmm.vm('vm0')).toThrow(UnknownGuestError);
  });

  it('does not slip back in with the epoch in which it was powered off', () => {
    enter({ epoch: 5 });
    vmm.vm('vm0').quit();
    expect(enter({ epoch: 5, session: 'session 1' }).said).toBe('power-off');
    expect(enter({ epoch: 4 }).said).toBe('stale-epoch');
  });

  it('has shut down for good by its own will as well', () => {
    enter({ epoch: 5 }).end?.say([Op.bye, 'halt']);
    expect(enter({ epoch: 5 }).said).toBe('guest-gone');
  });

  it('finds the target it had when it starts again', () => {
    enter();
    vmm.balloon('vm0', RAM_BYTES / 2);
    vmm.vm('vm0').quit();
    enter({ epoch: 2 });
    expect(added).toEqual(['vm0', 'vm0']);
    expect(vmm.list()[0]?.targetBytes).toBe(RAM_BYTES / 2);
  });
});

describe('what an operator can ask', () => {
  it('list: every guest, in bytes that remain to it', () => {
    const { end } = enter();
    enter({ guestId: 'vm1' }).end?.terminate();
    end?.bringUp();
    end?.say([Op.avail, 0, 0, writePfns([1, 2, 3]), new Uint8Array(0)]);
    end?.say([Op.configWrite, 4, writePfns([3])]);
    vmm.balloon('vm0', RAM_BYTES - 4096 * 8);
    expect(vmm.list()).toEqual([
      {
        id: 'vm0',
        status: 'running',
        connected: true,
        driverOk: true,
        ramBytes: RAM_BYTES,
        targetBytes: RAM_BYTES - 4096 * 8,
        actualBytes: RAM_BYTES - 4096 * 3,
        ledgerPages: 3,
        buffersInFlight: 0,
      },
      expect.objectContaining({ id: 'vm1', connected: false, driverOk: false, ledgerPages: 0 }),
    ]);
  });

  it('ledger: frames by state, what was counted, and the balloon’s frames on request', () => {
    const { end } = enter();
    end?.bringUp();
    end?.say([Op.avail, 0, 0, writePfns([9, 8, 8]), new Uint8Array(0)]);
    const { counters, ...frames } = vmm.ledger('vm0', true);
    expect(frames).toEqual({
      id: 'vm0',
      ramPages: 16_384,
      balloonPages: 2,
      resident: 16_382,
      ballooned: 0,
      discarded: 2,
      reported: 0,
      hinted: 0,
      ledgerBytes: 32_768,
      pfns: [8, 9],
    });
    expect(counters['inflated-twice']).toBe(1);
    expect(vmm.ledger('vm0').pfns).toBeUndefined();
  });

  it('stats: what the guest said last', () => {
    enter();
    expect(vmm.stats('vm0')).toEqual({ values: {}, lastUpdateSeconds: 0 });
  });

  it('cut: the link is torn, the guest may come back', () => {
    const { end } = enter();
    vmm.cut('vm0');
    expect(end?.closed).toBe('terminated');
    expect(enter({ session: sessionOf(), received: 1 }).said).toBe('resume');
  });

  it('nothing of a guest that is not there; the error names those that are', () => {
    enter();
    expect(() => vmm.balloon('vm7', 4096)).toThrow("no guest 'vm7'; there is vm0");
  });

  it('close: every machine is gone, with SHUTDOWN for its controllers', () => {
    enter();
    const events: string[] = [];
    vmm.vm('vm0').onEvent(({ event }) => events.push(event));
    vmm.close();
    expect(events).toEqual(['SHUTDOWN']);
    expect(removed).toEqual(['vm0']);
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
