import { describe, expect, it } from 'vitest';
import { PAGE_EVENT, PAGE_STATE, pageLifecycle } from '../../../../guest/mm/page/page-lifecycle.ts';
import { expectTableEqualsMachine } from '../../../support/lifecycle-equivalence.ts';

const { machine, table } = pageLifecycle;

describe('the lifecycle of a page frame', () => {
  it('is the same as state machine and as table', () => {
    expectTableEqualsMachine(machine, table);
  });

  it('begins reserved, which is what a zeroed array means', () => {
    expect(table.initial).toBe(0);
    expect(PAGE_STATE.reserved).toBe(0);
  });

  it('lets only an allocated frame into a balloon, and frees none that is in one', () => {
    const into = table.stateNames.filter((_, state) => table.can(state, PAGE_EVENT.inflate));
    expect(into).toEqual(['allocated']);
    for (const state of [PAGE_STATE.balloon, PAGE_STATE.balloonReplaced]) {
      expect(table.can(state, PAGE_EVENT.cache)).toBe(false);
      expect(table.can(state, PAGE_EVENT.merge)).toBe(false);
      expect(table.step(state, PAGE_EVENT.deflate)).toBe(PAGE_STATE.allocated);
    }
  });

  it('lets an isolated balloon page go only back to its book or out of it by a replacement', () => {
    const from = PAGE_STATE.balloonIsolated;
    const events = table.eventNames.filter((_, event) => table.can(from, event));
    expect(events).toEqual(['putback', 'replace']);
  });

  it('counts mapped pages and balloon pages, isolated ones too, as movable', () => {
    const movable = table.stateNames.filter((_, state) => table.hasTag(state, 'movable'));
    expect(movable).toEqual(['lru', 'balloon', 'balloonIsolated', 'balloonReplaced']);
  });
});
