import { describe, expect, it } from 'vitest';
import type { BalloonDevInfo } from '../../../../guest/mm/balloon/balloon-dev-info.ts';
import { BalloonPages } from '../../../../guest/mm/balloon/balloon-pages.ts';
import { BALLOON_GENERATIONS } from '../../../../guest/mm/balloon/generations.ts';
import { balloonPageDequeue } from '../../../../guest/mm/balloon/procedures.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { PAGE_STATE } from '../../../../guest/mm/page/page-lifecycle.ts';
import { MIB } from '../../../../shared/lib/units.ts';
import { FakeDriver } from './fake-driver.ts';
import { pagesOf } from './pages-of.ts';

/** What both generations of balloon compaction promise, each by its own steps. */
for (const balloonCompaction of ['movable', 'v2012'] as const) {
  describe(`migration, ${balloonCompaction}`, () => {
    const { isolate, migrate } = BALLOON_GENERATIONS[balloonCompaction];
    /** References left behind a migration, of the old page and the new one. */
    const left = { movable: [1, 2], v2012: [2, 1] }[balloonCompaction];

    /** What unmap_and_move does behind it. */
    function wrapUp({ memory, oldPfn, newPfn }: World): void {
      const pages = new BalloonPages(memory.balloons);
      if (balloonCompaction === 'v2012') {
        pages.release(oldPfn);
      } else {
        memory.allocator.putPage(newPfn);
        pages.free(oldPfn);
      }
    }

    interface World {
      readonly memory: GuestMemory;
      readonly driver: FakeDriver;
      readonly book: BalloonDevInfo;
      /** A page of the balloon, and one to migrate it to. */
      readonly oldPfn: number;
      readonly newPfn: number;
    }

    /** A balloon of three pages, the middle one isolated. */
    function newWorld(adjustManagedPageCount = true): World {
      const memory = GuestMemory.boot({ memoryBytes: 64 * MIB, balloonCompaction });
      const driver = new FakeDriver();
      const book = memory.newBalloon({ adjustManagedPageCount, migration: driver });
      const pages = [0, 1, 2].map(() => memory.allocator.allocBalloonPage());
      for (const pfn of pages) book.enqueue(pfn);
      const oldPfn = pages[1];
      expect(pagesOf(memory).isolate(oldPfn)).toBe(true);
      return { memory, driver, book, oldPfn, newPfn: memory.allocator.allocBalloonPage() };
    }

    function start(world: World, mayWait = false): { step(): string; stands(): string } {
      const frame = migrate.newFrame(world.oldPfn, world.newPfn, mayWait ? 1 : 0);
      return {
        step: () => migrate.step(frame, world.memory.balloons),
        stands: () => migrate.stateName(frame),
      };
    }

    function run(world: World): string {
      const migration = start(world);
      while (migration.step() === 'moved');
      return migration.stands();
    }

    describe('migration of a balloon page', () => {
      it('puts the new page to the head of the book, and the old one is in no book', () => {
        const world = newWorld();
        const { memory, driver, book, oldPfn, newPfn } = world;
        expect(run(world)).toBe('migrated');
        expect(driver.told).toEqual([`inflate ${newPfn}`, `deflate ${oldPfn}`]);
        expect([...book.pfns()].at(-1)).toBe(newPfn);
        expect([book.length, book.isolatedPages, driver.locked]).toEqual([3, 0, false]);
        const { pages } = memory;
        expect([pages.refcount(oldPfn), pages.refcount(newPfn)]).toEqual(left);
        expect(pages.states.stateOf(oldPfn)).toBe(PAGE_STATE.allocated);
        expect(memory.balloons.events.balloon_migrate).toBe(1);
        expect([pages.tryLock(oldPfn), pages.tryLock(newPfn)]).toEqual([true, true]);
      });

      it('keeps the books right after each of its steps', () => {
        const world = newWorld();
        const { memory, book } = world;
        const migration = start(world);
        for (let outcome = 'moved'; outcome === 'moved'; outcome = migration.step()) {
          expect(memory.verify(), migration.stands()).toEqual([]);
          expect(book.length + book.isolatedPages).toBe(3);
        }
        wrapUp(world);
        expect(memory.verify()).toEqual([]);
        expect(memory.balloons.adjustedPages).toBe(3);
        while (book.length > 0) book.releaseEach(Int32Array.of(book.dequeue()));
        expect(memory.balloons.adjustedPages).toBe(0);
      });

      it('tells of the old page only after the host knows the new one', () => {
        const world = newWorld();
        const { driver, newPfn, oldPfn } = world;
        driver.answers = false;
        const migration = start(world);
        while (migration.step() === 'moved');
        expect([migration.stands(), driver.told]).toEqual(['ackInflate', [`inflate ${newPfn}`]]);
        expect(driver.locked).toBe(true);
        driver.answers = true;
        migration.step();
        driver.answers = false;
        while (migration.step() === 'moved');
        expect([migration.stands(), driver.told.at(-1)]).toEqual([
          'ackDeflate',
          `deflate ${oldPfn}`,
        ]);
      });

      it('changes nothing while a batch of the driver is under way', () => {
        const world = newWorld();
        const { memory, driver, book, oldPfn, newPfn } = world;
        driver.locked = true;
        expect(run(world)).toBe('again');
        expect([driver.told, book.isolatedPages]).toEqual([[], 1]);
        expect(memory.pages.refcount(oldPfn)).toBe(2);
        memory.allocator.putPage(newPfn);
        pagesOf(memory).putback(oldPfn);
        expect(memory.verify()).toEqual([]);
      });

      it('backs off from a locked page, or waits for it', () => {
        const world = newWorld();
        world.memory.pages.tryLock(world.oldPfn);
        expect(run(world)).toBe('again');
        const patient = start(world, true);
        expect([patient.step(), patient.stands()]).toEqual(['waiting', 'lockOld']);
        world.memory.pages.unlock(world.oldPfn);
        while (patient.step() === 'moved');
        expect(patient.stands()).toBe('migrated');
      });

      it('R: dequeue at any moment gets pages of the list, never the one on its way', () => {
        const steps = migrate.table.stateNames.length;
        for (let before = 0; before < steps; before++) {
          const world = newWorld();
          const { memory, book, oldPfn, newPfn } = world;
          const migration = start(world);
          for (let step = 0; step < before; step++) migration.step();
          const got: number[] = [];
          for (let pfn = book.dequeue(); pfn >= 0 && book.length > 0; pfn = book.dequeue()) {
            got.push(pfn);
          }
          expect(got).not.toContain(oldPfn);
          while (migration.step() === 'moved');
          expect(migration.stands()).toBe('migrated');
          expect(memory.pages.states.stateOf(oldPfn)).toBe(PAGE_STATE.allocated);
          const isListed = [...book.pfns()].includes(newPfn);
          expect(isListed || memory.pages.states.stateOf(newPfn) === PAGE_STATE.allocated).toBe(
            true,
          );
        }
      });

      it('R: a second isolation at any moment gets nothing of the old page', () => {
        const steps = migrate.table.stateNames.length;
        for (let before = 0; before < steps; before++) {
          const world = newWorld();
          const { memory, oldPfn } = world;
          const migration = start(world);
          for (let step = 0; step < before; step++) migration.step();
          const frame = isolate.newFrame(oldPfn);
          expect(isolate.run(frame, memory.balloons)).toBe('refused');
          while (migration.step() === 'moved');
          expect(memory.pages.refcount(oldPfn)).toBe(left[0]);
        }
      });

      it('moves the managed pages along with the zone', () => {
        const world = newWorld();
        const { memory, book, newPfn } = world;
        const [dma, dma32] = memory.allocator.zones;
        memory.allocator.putPage(newPfn);
        const inDma = memory.allocator.getPageFromFreelist(0, 1, 0);
        expect(memory.allocator.zoneOf(inDma)).toBe(dma);
        const before = [dma.managedPages, dma32.managedPages];
        expect(run({ ...world, newPfn: inDma })).toBe('migrated');
        expect([dma.managedPages, dma32.managedPages]).toEqual([before[0] - 1, before[1] + 1]);
        wrapUp({ ...world, newPfn: inDma });
        expect(memory.verify()).toEqual([]);
        expect(book.length).toBe(3);
      });

      it('a page just taken in can be dequeued as soon as its lock is free', () => {
        const world = newWorld();
        const { memory, book, newPfn } = world;
        run(world);
        const frame = balloonPageDequeue.newFrame(newPfn);
        expect(balloonPageDequeue.run(frame, memory.balloons)).toBe('dequeued');
        expect(book.length).toBe(2);
      });
    });
  });
}
