import { beforeEach, describe, expect, it } from 'vitest';
import type { GuestBalloon } from '../../guest/guest-balloon.ts';
import { PAGE_STATE } from '../../guest/mm/page/page-lifecycle.ts';
import type { PfnRange } from '../../shared/lib/pfn-ranges.ts';
import { MAX_REPORT_PAGES } from '../../shared/limits.ts';
import { writePairs } from '../../shared/protocol/bodies.ts';
import { ProtocolError } from '../../shared/protocol/errors.ts';
import { Op } from '../../shared/protocol/messages.ts';
import { DEVICES, TwoHosts } from '../support/two-hosts.ts';

/** What one device of several may do to the memory that all share, and what compaction does. */
let world: TwoHosts;
beforeEach(() => {
  world = new TwoHosts();
  world.setTarget(0, 100);
  world.setTarget(1, 100);
});

const MARK = 4711;

/** The host of a device says that frames lost their content; returns which of `watched` did. */
function discarded(device: number, ranges: readonly PfnRange[], watched: readonly number[]) {
  const { tags } = world.kernel.memory.pages;
  for (const pfn of watched) tags[pfn] = MARK;
  world.balloon(device).handle([Op.discard, writePairs(ranges)]);
  return watched.map((pfn) => tags[pfn] === 0);
}

const one = (start: number): PfnRange => ({ start, count: 1 });
const refusedPages = (device: number): number =>
  world.balloon(device).refused.get('discard_pages_refused');
const pfnOf = (device: number): number => world.ledger(device)[0];

describe('a discard', () => {
  it('of what its device gave away empties the frame', () => {
    expect(discarded(1, [one(pfnOf(1))], [pfnOf(1)])).toEqual([true]);
    expect(refusedPages(1)).toBe(0);
  });

  it('by a second host of anything else is refused and counted', () => {
    world.guest.run({ name: 'hog', mib: 4, seconds: 1000 });
    world.pass(1);
    const { states } = world.kernel.memory.pages;
    const process = states.snapshot().indexOf(PAGE_STATE.lru);
    const free = states.snapshot().indexOf(PAGE_STATE.free);
    const others = [pfnOf(0), process, free];
    const before = world.kernel.memory.pages.tags[process];
    const all = [...others.map(one), one(pfnOf(1))];
    expect(discarded(1, all, [...others, pfnOf(1)])).toEqual([false, false, false, true]);
    expect(refusedPages(1)).toBe(3);
    world.kernel.memory.pages.tags[process] = before;
    world.verify();
  });

  it('by the first host may be of any frame: the machine and its memory are that host’s', () => {
    expect(discarded(0, [one(pfnOf(1)), one(pfnOf(0))], [pfnOf(1), pfnOf(0)])).toEqual([
      true,
      true,
    ]);
    expect(refusedPages(0)).toBe(0);
  });

  it('of a frame that was given back is refused: it may be somebody else’s by now', () => {
    const pfn = pfnOf(1);
    world.setTarget(1, 0);
    expect(discarded(1, [one(pfn)], [pfn])).toEqual([false]);
    expect(refusedPages(1)).toBe(1);
  });

  it('of a reported block is heeded while the report lasts', () => {
    world = new TwoHosts({ mib: 256, properties: [{}, { 'free-page-reporting': true }] });
    const { states } = world.kernel.memory.pages;
    world.vm(1).stop();
    world.pass(2500);
    const lent = states.snapshot().indexOf(PAGE_STATE.isolatedFree);
    expect(lent).toBeGreaterThan(0);
    expect(discarded(1, [one(lent)], [lent])).toEqual([true]);
    expect(discarded(0, [one(0)], [])).toEqual([]);
    expect(refusedPages(1)).toBe(0);
    world.vm(1).cont();
    world.pass(2500);
    expect(states.stateOf(lent)).toBe(PAGE_STATE.free);
    expect(discarded(1, [one(lent)], [lent])).toEqual([false]);
    expect(refusedPages(1)).toBe(1);
  });

  it('of all frames there could be, many times over, costs no more than an honest one', () => {
    const everything = { start: 0, count: 2 ** 32 - 1 };
    const ranges = Array.from({ length: 7000 }, () => everything);
    expect(discarded(1, ranges, [pfnOf(0), pfnOf(1)])).toEqual([false, true]);
    const given = world.kernel.memory.pages.pageCount <= MAX_REPORT_PAGES ? 100 : 0;
    expect(refusedPages(1)).toBe(7000 * everything.count - given);
  });

  it('that is cut in the middle of a range is the host’s mistake', () => {
    const cut = (): void => world.balloon(1).handle([Op.discard, new Uint8Array(4)]);
    expect(cut).toThrow(ProtocolError);
  });
});

describe('compaction of a guest with two ballooned devices', () => {
  /** Buffers of one page each that the device was told since `from`, by queue. */
  const toldSince = (device: number, from: number): string[] =>
    world.hosts[device]
      .trace(DEVICES[device])
      .slice(from)
      .flatMap((event) => (event.ev === 'buf' && event.n === 1 ? [event.queue] : []));
  const traceLength = (device: number): number => world.hosts[device].trace(DEVICES[device]).length;

  beforeEach(() => {
    world.guest.run({ name: 'frag', mib: 40, keepEvery: 2, seconds: 1000 });
    world.pass(10);
    // Frames of both lie side by side: compaction has some of either in its hands at once.
    for (let pages = 108; pages <= 3000; pages += 4) {
      world.setTarget(0, pages);
      world.setTarget(1, pages);
    }
  });

  it('moves pages of both, each told on its own wire, new page first', () => {
    const books = [0, 1].map((device) => new Set(world.ledger(device)));
    const from = [0, 1].map(traceLength);
    world.kernel.compactMemory();
    world.pass(1);
    for (const device of [0, 1]) {
      const told = toldSince(device, from[device]);
      const moved = world.ledger(device).filter((pfn) => !books[device].has(pfn)).length;
      expect(moved, `pages of device ${device} that moved`).toBeGreaterThan(20);
      expect(told.filter((queue) => queue === 'inflate').length).toBeGreaterThanOrEqual(moved);
      expect(told).toEqual(told.map((_, index) => (index % 2 === 0 ? 'inflate' : 'deflate')));
      world.expectLedgerIsBook(device);
    }
    expect(world.pages()).toEqual([3000, 3000]);
    world.verify();
  });

  /**
   * The second host acknowledges nothing any more: compaction stops at the first of its pages, with
   * pages of the first device in its hands.
   */
  function stopInTheMiddle(): GuestBalloon {
    world.vm(1).stop();
    world.kernel.compactMemory();
    world.pass(1);
    const [first] = world.kernel.balloons.list;
    expect(first.driver.book?.isolatedPages).toBeGreaterThan(0);
    return first;
  }

  it('that waits for one host lets the other device be told to a new host when it goes on', () => {
    const first = stopInTheMiddle();
    world.hosts[0].replaceHost();
    world.pass(1000);
    expect(first.core.state).toBe('announcing');
    world.vm(1).cont();
    world.pass(1000);
    expect(world.states()).toEqual(['bound', 'bound']);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    world.verify();
  });

  it('that waits for one host keeps neither the other device nor its host busy', () => {
    const first = stopInTheMiddle();
    const from = traceLength(0);
    world.setTarget(0, 0);
    world.pass(1000);
    expect(first.driver.numPages).toBe(first.driver.book?.isolatedPages);
    expect(traceLength(0) - from).toBeLessThan(1000);
    world.guest.verb('unbind', first);
    world.pass(1000);
    expect(first.core.state).toBe('unbinding');
    world.verify();
    world.vm(1).cont();
    world.pass(1000);
    expect(world.states()).toEqual(['unbound', 'bound']);
    expect(world.pages()).toEqual([0, 3000]);
    for (const device of [0, 1]) world.expectLedgerIsBook(device);
    world.verify();
  });
});
