import { describe, expect, it } from 'vitest';
import { firstFree } from '../../../guest/mm/page/free-area.ts';
import { MIGRATETYPE } from '../../../guest/mm/page/gfp.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import { PAGE_POISON } from '../../../guest/mm/page/prepare.ts';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { QEMU_POLICY } from '../../../host/device/violations.ts';
import type { BalloonProperties } from '../../../host/vmm/machine.ts';
import { VirtualSession } from '../../../lab/virtual-session.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { readPfns } from '../../../shared/protocol/bodies.ts';
import { type GuestToHost, Op } from '../../../shared/protocol/messages.ts';
import { CONFIG_POISON_VAL } from '../../../shared/virtio/balloon.ts';
import { featureBits } from '../../../shared/virtio/features.ts';
import { HeldGuest } from '../../support/held-guest.ts';

const RAM = 256 * MIB;

const poisoned = (properties: Partial<BalloonProperties> = {}): HeldGuest =>
  new HeldGuest({ properties, pagePoison: true });

const accepted = (held: HeldGuest): number[] => featureBits(held.guest.kernel.device.negotiated);

const verify = (held: HeldGuest): string[] => held.guest.kernel.memory.verify();

/** The driver's messages to a device that was offered with these properties. */
function probeOf(pagePoison: boolean): GuestToHost[] {
  const sent: GuestToHost[] = [];
  const session = new VirtualSession({
    properties: DEFAULT_PROPERTIES,
    policy: QEMU_POLICY,
    observer: { fromGuest: (message) => sent.push(structuredClone(message)), toGuest: () => {} },
  });
  session.guest({ id: 'vm0', memoryBytes: RAM, pagePoison }).start();
  session.clock.advanceTo(1);
  return sent;
}

const isDriverOk = (message: GuestToHost): boolean =>
  message[0] === Op.status && (message[1] & 4) !== 0;

describe('a guest without page_poison', () => {
  it('N02: declines bit 4 and writes no value, as recorded', () => {
    expect(accepted(new HeldGuest())).toEqual([1, 32]);
    const writes = probeOf(false).filter((message) => message[0] === Op.configWrite);
    expect(writes).toEqual([]);
  });

  it('N03: reports nevertheless, because its free pages hold nothing', () => {
    expect(accepted(new HeldGuest({ properties: { 'free-page-reporting': true } }))).toContain(5);
  });
});

describe('a guest with page_poison=1', () => {
  it('N55: writes poison_val before DRIVER_OK, in one access; N56: and never again', () => {
    const sent = probeOf(true);
    const writes = sent.filter((message) => message[0] === Op.configWrite);
    expect(writes).toHaveLength(1);
    const [, offset, bytes] = writes[0] as readonly [number, number, Uint8Array];
    expect([offset, [...readPfns(bytes)]]).toEqual([CONFIG_POISON_VAL, [PAGE_POISON]]);
    expect(sent.indexOf(writes[0])).toBeLessThan(sent.findIndex(isDriverOk));
  });

  it('N03: does not report to a device that cannot know the value', () => {
    const held = poisoned({ 'page-poison': false, 'free-page-reporting': true });
    expect(accepted(held)).toEqual([1, 32]);
    expect(accepted(poisoned({ 'free-page-reporting': true }))).toEqual([1, 4, 5, 32]);
  });

  it('N59: every free page holds the value before it is reported', () => {
    const held = poisoned({ 'free-page-reporting': true });
    expect(verify(held)).toEqual([]);
    held.run(2100);
    expect(held.buffers('reporting').length).toBeGreaterThan(1);
    expect(verify(held)).toEqual([]);
  });

  it('N65: its host throws no reported page away, since that would zero it', () => {
    const held = poisoned({ 'free-page-reporting': true });
    held.run(2100);
    const { counters, ledger } = held.session.vm('vm0');
    expect(counters.get('poisoned_reports')).toBe(held.buffers('reporting').length);
    expect(counters.get('discarded_pages')).toBe(0);
    expect(ledger.count('reported')).toBe(0);
  });

  it('N54: fills deflated pages with the value, although the host zeroed them', () => {
    const held = poisoned();
    held.setTarget(RAM - 64 * MIB);
    const { pages, allocator } = held.guest.kernel.memory;
    const inBalloon = [...(held.driver.book?.pfns() ?? [])];
    expect(inBalloon).toHaveLength(16_384);
    expect(inBalloon.every((pfn) => pages.tags[pfn] === 0)).toBe(true);
    held.setTarget(RAM);
    expect(inBalloon.every((pfn) => pages.tags[pfn] === PAGE_POISON)).toBe(true);
    expect(allocator.poisonErrors).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('finds its value in every page it hands out, whatever ran', () => {
    const held = poisoned({ 'free-page-reporting': true });
    held.setTarget(RAM - 64 * MIB);
    held.guest.run({ name: 'frag', mib: 60, keepEvery: 3, seconds: 2 });
    held.run(10_000);
    held.setTarget(RAM);
    held.run(10_000);
    const { kernel } = held.guest;
    expect(kernel.memory.allocator.poisonErrors).toBe(0);
    expect(kernel.processes.canariesWrong).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('notices a free page that was written to', () => {
    const held = poisoned();
    const { pages, allocator } = held.guest.kernel.memory;
    const free = firstFree(allocator.zones[1], 10, MIGRATETYPE.movable);
    expect(pages.states.stateOf(free)).toBe(PAGE_STATE.free);
    pages.tags[free] = 1;
    expect(verify(held)).toEqual([`N59: free frames hold the poison: ${free}`]);
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(1000);
    expect(allocator.poisonErrors).toBe(1);
    expect(verify(held)).toEqual([]);
  });

  it('N55, not kept, as Linux: after a suspend the device does not know the value', () => {
    const held = poisoned({ 'free-page-reporting': true });
    held.run(2100);
    held.guest.verb('suspend');
    held.run(10);
    held.guest.verb('resume');
    held.run(10);
    expect(accepted(held)).toContain(4);
    const { counters } = held.session.vm('vm0');
    const before = counters.get('poisoned_reports');
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(2100);
    expect(counters.get('poisoned_reports')).toBe(before);
    expect(counters.get('reported_pages')).toBeGreaterThan(0);
  });

  it('tells a new host the value again', () => {
    const held = poisoned({ 'free-page-reporting': true });
    held.run(2100);
    held.session.replaceHost();
    held.run(5000);
    held.guest.run({ name: 'hog', mib: 100, seconds: 0 });
    held.run(2100);
    const { counters } = held.session.vm('vm0');
    expect(counters.get('poisoned_reports')).toBeGreaterThan(0);
    expect(counters.get('reported_pages')).toBe(0);
    expect(verify(held)).toEqual([]);
  });
});
