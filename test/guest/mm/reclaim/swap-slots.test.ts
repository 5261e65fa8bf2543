import { describe, expect, it } from 'vitest';
import { SLOT_STATE, SwapSlots } from '../../../../guest/mm/reclaim/swap-slots.ts';
import { PAGE_SIZE } from '../../../../shared/lib/units.ts';

const PFN = 77;

describe('slots of the swap area', () => {
  it('begin behind the header and are had in ascending order, then round again', () => {
    const slots = new SwapSlots(5 * PAGE_SIZE);
    expect([slots.total, slots.freeCount]).toEqual([4, 4]);
    expect([1, 2, 3, 4].map(() => slots.take(PFN))).toEqual([1, 2, 3, 4]);
    expect(slots.take(PFN)).toBe(-1);
    for (const slot of [2, 3]) slots.dropCache(slot);
    expect([slots.take(PFN), slots.take(PFN), slots.take(PFN)]).toEqual([2, 3, -1]);
  });

  it('are free again when neither the cache nor an entry needs them', () => {
    const slots = new SwapSlots(16 * PAGE_SIZE);
    const slot = slots.take(PFN);
    slots.addEntry(slot);
    slots.addEntry(slot);
    slots.dropCache(slot);
    expect(slots.states.stateOf(slot)).toBe(SLOT_STATE.swapped);
    slots.dropEntry(slot);
    expect([slots.counts[slot], slots.freeCount]).toEqual([1, 14]);
    slots.dropEntry(slot);
    expect([slots.states.stateOf(slot), slots.freeCount]).toEqual([SLOT_STATE.free, 15]);
  });

  it('outlive their entries in the cache', () => {
    const slots = new SwapSlots(16 * PAGE_SIZE);
    const slot = slots.take(PFN);
    slots.addEntry(slot);
    slots.dropEntry(slot);
    expect(slots.states.stateOf(slot)).toBe(SLOT_STATE.cached);
    expect(slots.cachedPage(slot)).toBe(PFN);
    slots.dropCache(slot);
    expect([slots.cachedPage(slot), slots.freeCount]).toEqual([-1, 15]);
  });

  it('are cached again when they are read', () => {
    const slots = new SwapSlots(16 * PAGE_SIZE);
    const slot = slots.take(PFN);
    slots.addEntry(slot);
    slots.dropCache(slot);
    slots.cache(slot, PFN + 1);
    expect(slots.states.stateOf(slot)).toBe(SLOT_STATE.shared);
    expect(slots.cachedPage(slot)).toBe(PFN + 1);
  });

  it('are full, as far as keeping them goes, when more than half is used', () => {
    const slots = new SwapSlots(11 * PAGE_SIZE);
    for (let taken = 0; taken < 5; taken++) slots.take(PFN);
    expect(slots.isFull).toBe(false);
    slots.take(PFN);
    expect(slots.isFull).toBe(true);
  });

  it('refuse an entry too many or too few', () => {
    const slots = new SwapSlots(16 * PAGE_SIZE);
    const slot = slots.take(PFN);
    expect(() => slots.dropEntry(slot)).toThrow('an entry is freed as often as it was made');
    expect(() => slots.cache(slot, PFN)).toThrow('illegal');
    slots.counts[slot] = 0xffff;
    expect(() => slots.addEntry(slot)).toThrow('fewer entries than can be counted');
  });
});
