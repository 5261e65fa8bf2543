import { beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import { KeepError } from '../../../host/vmm/guest-keeper.ts';
import type { DeviceSetup, Vm } from '../../../host/vmm/vm.ts';
import { Vmm } from '../../../host/vmm/vmm.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { MAX_HOST_PAGES, RESUME_WINDOW_MS } from '../../../shared/limits.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import type { GuestHello } from '../../../shared/transport/hello.ts';
import { MemoryKeeper } from '../../support/memory-keeper.ts';
import { GuestEnd, helloOf, opName, RAM_BYTES, REGIONS } from './guest-end.ts';

/** Lives of a host with one keeper: `startHost` is a kill and a start. */
let clock: VirtualClock;
let keeper: MemoryKeeper;
let vmm: Vmm;
let sessions: number;
let added: string[];
let warnings: object[];
let errors: object[];

interface HostChanges {
  readonly device?: Partial<DeviceSetup>;
  readonly resumeWindowMs?: number;
}

function startHost({ device, ...rest }: HostChanges = {}): void {
  vmm = new Vmm({
    clock,
    log: {
      ...SILENT,
      warn: (fields: object) => warnings.push(fields),
      error: (fields: object) => errors.push(fields),
    },
    keeper,
    deviceFor: () => ({
      qomId: 'balloon0',
      properties: DEFAULT_PROPERTIES,
      policy: QEMU_POLICY,
      ...device,
    }),
    newSessionName: () => `session ${++sessions}`,
    onGuestAdded: (vm: Vm, restored) => added.push(`${vm.id} ${restored ? 'restored' : 'new'}`),
    ...rest,
  });
  vmm.restore();
}

beforeEach(() => {
  clock = new VirtualClock();
  keeper = new MemoryKeeper();
  sessions = 0;
  added = [];
  warnings = [];
  errors = [];
  startHost();
});

/** Says hello and, where it is let in, opens the link and brings the driver up. */
function enter(changes: Partial<GuestHello> = {}): { said: string; end: GuestEnd | undefined } {
  const hello = helloOf(changes);
  const admission = vmm.admit(hello);
  if (admission.kind === 'refuse') return { said: admission.error, end: undefined };
  return { said: admission.kind, end: new GuestEnd(vmm.vm(hello.guestId), admission.kind) };
}

const vm0 = (): Vm => vmm.vm('vm0');

function eventsOf(vm: Vm): string[] {
  const events: string[] = [];
  vm.onEvent(({ event }) => events.push(event));
  return events;
}

describe('a record is kept before the change is acknowledged', () => {
  it('an admission', () => {
    enter();
    expect(keeper.puts).toEqual([
      {
        guest: 'vm0',
        epoch: 1,
        regions: REGIONS,
        pollingIntervalSeconds: 0,
        qomId: 'balloon0',
        properties: DEFAULT_PROPERTIES,
      },
    ]);
  });

  it('a later life of the guest, with its RAM', () => {
    enter();
    enter({ epoch: 2, regions: [{ start: 0, count: 100 }] });
    expect(keeper.puts.at(-1)).toMatchObject({ epoch: 2, regions: [{ start: 0, count: 100 }] });
  });

  it('a target, before the guest is told; none while it is all of RAM', () => {
    const { end } = enter();
    end?.bringUp();
    vm0().balloon?.setTargetBytes(RAM_BYTES - 8192 + 1);
    expect(keeper.puts.at(-1)?.targetBytes).toBe(RAM_BYTES - 4096);
    expect(end?.news().map(([op]) => op)).toEqual([Op.config]);
    vm0().balloon?.setTargetBytes(2 * RAM_BYTES);
    expect(keeper.puts.at(-1)).not.toHaveProperty('targetBytes');
  });

  it('an interval', () => {
    enter();
    const { balloon } = vm0();
    if (balloon !== undefined) balloon.pollingIntervalSeconds = 7;
    expect(keeper.puts.at(-1)?.pollingIntervalSeconds).toBe(7);
  });

  it('a departure, before guest and controllers hear of it', () => {
    const { end } = enter();
    keeper.onPut = () => expect(end?.news().map(opName)).toEqual(['device']);
    vm0().onEvent(() => expect(keeper.puts.at(-1)?.departure).toBe('power-off'));
    vm0().quit();
    expect(end?.news().map(opName)).toEqual(['powerOff']);
    keeper.onPut = () => {};
    enter({ epoch: 2 }).end?.say([Op.bye, 'halt']);
    expect(keeper.puts.at(-1)).toMatchObject({ epoch: 2, departure: 'guest-gone' });
    expect.assertions(4);
  });
});

describe('what cannot be kept is refused', () => {
  it('a target and an interval: nothing changes and the guest is told nothing', () => {
    const { end } = enter();
    end?.bringUp();
    keeper.failing = true;
    expect(() => vm0().balloon?.setTargetBytes(4096)).toThrow(KeepError);
    expect(() => {
      const { balloon } = vm0();
      if (balloon !== undefined) balloon.pollingIntervalSeconds = 1;
    }).toThrow(KeepError);
    expect(vm0().balloon?.targetBytes).toBe(RAM_BYTES);
    expect(vm0().balloon?.pollingIntervalSeconds).toBe(0);
    expect(end?.news()).toEqual([]);
    expect(vmm.counters.get('records_not_kept')).toBe(2);
  });

  it('a guest: it may try again, and a life that is connected stays', () => {
    const { end } = enter();
    keeper.failing = true;
    expect(enter({ guestId: 'vm1' }).said).toBe('host-going');
    expect(enter({ epoch: 2 }).said).toBe('host-going');
    expect(vmm.vms.size).toBe(1);
    expect(end?.closed).toBeUndefined();
    expect(vm0().epoch).toBe(1);
    keeper.failing = false;
    expect(enter({ guestId: 'vm1' }).said).toBe('power-on');
  });

  it('but not a departure: the guest is gone, and an error is logged', () => {
    enter();
    keeper.failing = true;
    vm0().quit();
    expect(vmm.vms.size).toBe(0);
    expect(errors).toHaveLength(1);
  });
});

describe('a host that is started again', () => {
  it('has its guests at once: running, not connected, with target and interval', () => {
    enter();
    enter({ guestId: 'vm1' });
    vm0().balloon?.setTargetBytes(RAM_BYTES / 2);
    const { balloon } = vm0();
    if (balloon !== undefined) balloon.pollingIntervalSeconds = 7;
    added = [];
    startHost();
    expect(added).toEqual(['vm0 restored', 'vm1 restored']);
    expect(vmm.list()).toMatchObject([
      { id: 'vm0', status: 'running', connected: false, targetBytes: RAM_BYTES / 2 },
      { id: 'vm1', status: 'running', connected: false, targetBytes: RAM_BYTES },
    ]);
    expect(vm0().balloon?.pollingIntervalSeconds).toBe(7);
    expect(vm0().balloon?.actualBytes).toBe(RAM_BYTES);
    expect(vmm.counters.get('guests_restored')).toBe(2);
  });

  it('waits the resume window for each, from its own start on', () => {
    enter();
    clock.advanceBy(RESUME_WINDOW_MS);
    startHost();
    const events = eventsOf(vm0());
    clock.advanceBy(RESUME_WINDOW_MS - 1);
    expect(events).toEqual([]);
    clock.advanceBy(1);
    expect(events).toEqual(['GUEST_PANICKED', 'STOP']);
    expect(vm0().runState).toBe('guest-panicked');
  });

  it('waits as long as it is told', () => {
    enter();
    startHost({ resumeWindowMs: 500 });
    clock.advanceBy(500);
    expect(vm0().runState).toBe('guest-panicked');
  });

  it('powers on a guest of the same life that names a session it does not know', () => {
    enter();
    const session = vm0().session?.name ?? '';
    vm0().balloon?.setTargetBytes(RAM_BYTES - 4096);
    startHost();
    const events = eventsOf(vm0());
    const { said, end } = enter({ session, received: 900 });
    expect(said).toBe('power-on');
    expect(events).toEqual(['RESET']);
    const config = end?.sent[0]?.[6] as Uint8Array;
    expect([...config.slice(0, 4)]).toEqual([1, 0, 0, 0]);
    clock.advanceBy(2 * RESUME_WINDOW_MS);
    expect(vm0().runState).toBe('running');
  });

  it('takes a target in the meantime, which the guest finds when it comes', () => {
    enter();
    startHost();
    vm0().balloon?.setTargetBytes(RAM_BYTES - 2 * 4096);
    const { end } = enter();
    const config = end?.sent[0]?.[6] as Uint8Array;
    expect([...config.slice(0, 4)]).toEqual([2, 0, 0, 0]);
  });

  it('still refuses an earlier life, with both epochs in the refusal', () => {
    enter({ epoch: 5 });
    startHost();
    expect(vmm.admit(helloOf({ epoch: 4 }))).toEqual({
      kind: 'refuse',
      error: 'stale-epoch',
      detail: 'epoch 4, the host has seen 5',
    });
    expect(enter({ epoch: 6 }).said).toBe('power-on');
  });

  it('still refuses a guest that was powered off, and gives a later life its target', () => {
    enter({ epoch: 5 });
    vm0().balloon?.setTargetBytes(RAM_BYTES / 4);
    vm0().quit();
    startHost();
    expect(vmm.vms.size).toBe(0);
    expect(enter({ epoch: 5 }).said).toBe('power-off');
    expect(enter({ epoch: 4 }).said).toBe('stale-epoch');
    expect(enter({ epoch: 6 }).said).toBe('power-on');
    expect(vm0().balloon?.targetBytes).toBe(RAM_BYTES / 4);
  });

  it('counts the RAM of guests it waits for', () => {
    enter({ regions: [{ start: 0, count: MAX_HOST_PAGES }] });
    startHost();
    expect(enter({ guestId: 'vm1' }).said).toBe('bad-ram');
  });

  it('may be killed again before its guests are back', () => {
    enter();
    vm0().balloon?.setTargetBytes(RAM_BYTES / 2);
    startHost();
    startHost();
    expect(vm0().balloon?.targetBytes).toBe(RAM_BYTES / 2);
  });

  it('keeps its guests when it ends in an orderly way as well', () => {
    enter();
    vmm.close();
    startHost();
    expect([...vmm.vms.keys()]).toEqual(['vm0']);
  });

  it('knows nobody without a keeper', () => {
    enter();
    keeper = new MemoryKeeper();
    startHost();
    expect(vmm.vms.size).toBe(0);
  });
});

describe('the device of a guest that is known', () => {
  const other = { ...DEFAULT_PROPERTIES, 'deflate-on-oom': true };

  it('stays what it was when the host is started with other options, with a warning', () => {
    enter();
    startHost({ device: { qomId: 'other', properties: other } });
    expect(vm0().balloon?.qomId).toBe('balloon0');
    expect(vm0().balloon?.properties).toEqual(DEFAULT_PROPERTIES);
    expect(warnings).toEqual([{ guest: 'vm0', qomId: 'balloon0', ...DEFAULT_PROPERTIES }]);
  });

  it('stays that over later lives of the guest too', () => {
    enter();
    startHost({ device: { properties: other } });
    enter({ epoch: 2 });
    expect(vm0().balloon?.properties).toEqual(DEFAULT_PROPERTIES);
  });

  it('is no reason to warn when the options say the same in another order', () => {
    enter();
    const reversed = Object.fromEntries(Object.entries(DEFAULT_PROPERTIES).reverse());
    startHost({ device: { properties: reversed as typeof DEFAULT_PROPERTIES } });
    expect(warnings).toEqual([]);
  });

  it('is that of the options for a guest that departed: its machine is a new one', () => {
    enter();
    vm0().quit();
    startHost({ device: { properties: other } });
    enter({ epoch: 2 });
    expect(vm0().balloon?.properties).toEqual(other);
    expect(warnings).toEqual([]);
  });
});
