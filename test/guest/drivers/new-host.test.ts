import { describe, expect, it } from 'vitest';
import { MIB, PAGE_SIZE } from '../../../shared/lib/units.ts';
import { HeldGuest } from '../../support/held-guest.ts';

const RAM = 256 * MIB;

/** Long enough for the guest to come back: its back-off begins at 100 ms. */
const BACK_MS = 1000;

function expectBothSidesAgree(held: HeldGuest): void {
  const { book } = held.driver;
  const difference = held.session.vm('vm0').ledger.compareBalloon(book?.pfns() ?? []);
  expect(difference).toMatchObject({ missing: 0, surplus: 0, repeated: 0 });
  expect(held.driver.numPages).toBe(book?.length);
  expect(held.balloon.actualBytes).toBe(RAM - held.driver.numPages * PAGE_SIZE);
  expect(held.guest.kernel.memory.verify()).toEqual([]);
}

describe('a host that died and came back knowing nothing', () => {
  it('is told the whole balloon list, oldest page first, in batches of 256, then `actual`', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 600 * PAGE_SIZE);
    const list = [...(held.driver.book?.pfns() ?? [])];
    const from = held.trace.length;
    held.session.replaceHost();
    held.run(BACK_MS);
    const events = held.trace.slice(from).filter((event) => event.ev !== 'used');
    const told = events.filter((event) => event.ev === 'buf' && event.queue === 'inflate');
    expect(told.map((event) => event.ev === 'buf' && event.n)).toEqual([256, 256, 88]);
    expect(events.findIndex((event) => event.ev === 'config-set')).toBeGreaterThan(
      events.lastIndexOf(told[2] as (typeof events)[number]),
    );
    const pfns = told.flatMap((event) =>
      event.ev === 'buf'
        ? event.runs.flatMap(([first, count, step]) =>
            Array.from({ length: count }, (_, index) => first + index * step),
          )
        : [],
    );
    expect(pfns).toEqual(list);
  });

  it('gets its target followed: without a stored one the guest deflates to all of RAM', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 4 * MIB);
    held.session.replaceHost();
    held.run(BACK_MS);
    expect(held.driver.numPages).toBe(0);
    expectBothSidesAgree(held);
  });

  it.each(['inflating', 'deflating'])(
    'may die at any moment of a guest %s: both sides agree afterwards',
    (direction) => {
      for (let acknowledged = 0; acknowledged < 4; acknowledged++) {
        const held = new HeldGuest({ hold: direction === 'inflating' });
        if (direction === 'deflating') {
          held.setTarget(RAM - 4 * MIB);
          held.holding = true;
        }
        held.setTarget(direction === 'inflating' ? RAM - 4 * MIB : RAM);
        for (let count = 0; count < acknowledged; count++) held.release();
        held.session.replaceHost();
        held.held.length = 0;
        held.holding = false;
        held.run(BACK_MS);
        held.setTarget(RAM - 3 * MIB);
        held.run(BACK_MS);
        expect(held.driver.numPages).toBe(768);
        expectBothSidesAgree(held);
      }
    },
  );

  it.each(['unbind', 'rmmod', 'suspend'] as const)(
    'may die during %s, which then ends without it',
    (verb) => {
      const held = new HeldGuest();
      held.setTarget(RAM - 4 * MIB);
      held.holding = true;
      const task = held.guest.verb(verb);
      held.run();
      expect(task.ended).toBe(false);
      held.session.replaceHost();
      held.held.length = 0;
      held.holding = false;
      held.run(BACK_MS);
      expect(task.ended).toBe(true);
      expect(held.driver.numPages).toBe(0);
      const back = { unbind: 'bind', rmmod: 'insmod', suspend: 'resume' } as const;
      held.guest.verb(back[verb]);
      held.setTarget(RAM - 2 * MIB);
      held.run(BACK_MS);
      expect(held.driver.numPages).toBe(512);
      expectBothSidesAgree(held);
    },
  );

  it('may die again while it is being told', () => {
    const held = new HeldGuest();
    held.setTarget(RAM - 8 * MIB);
    held.session.replaceHost();
    held.holding = true;
    held.run(BACK_MS);
    held.session.replaceHost();
    held.held.length = 0;
    held.holding = false;
    held.run(BACK_MS);
    held.setTarget(RAM - 8 * MIB);
    held.run(BACK_MS);
    expect(held.driver.numPages).toBe(2048);
    expectBothSidesAgree(held);
  });
});
