import { GuestMemory } from '../../guest/mm/memory.ts';
import { bootSpaces } from '../../guest/mm/space/boot-spaces.ts';
import type { Spaces } from '../../guest/mm/space/spaces.ts';
import { newVmstat } from '../../guest/mm/vmstat.ts';
import { Scheduler } from '../../guest/sched/scheduler.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { PausableClock } from '../../shared/lib/pausable-clock.ts';
import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { inTurns, loop, settledMemory } from './measure.ts';
import { atMost, type Report } from './report.ts';

const GUEST_BYTES = 64 * GIB;
const PAGES = GUEST_BYTES / PAGE_SIZE;
const ROUNDS = 5;

/** Raw baseline: what 16 bytes and a state byte a page cost when every page is written once. */
function fillArrays(): number {
  const words = new Int32Array(PAGES * 4).fill(1);
  const states = new Uint8Array(PAGES).fill(1);
  return words.length + states.length;
}

function ownedBytes(before: NodeJS.MemoryUsage, after: NodeJS.MemoryUsage): number {
  const owned = (key: 'arrayBuffers' | 'heapUsed'): number => after[key] - before[key];
  return owned('arrayBuffers') + owned('heapUsed');
}

/** Writes all that is kept of each page, as in a guest that has every one mapped. */
function touchEveryPage({ pages, regions }: GuestMemory, { frames }: Spaces): void {
  for (const { start, count } of regions) {
    const end = start + count;
    pages.words.fill(1, start * 4, end * 4);
    for (const array of [pages.tags, frames.mapping, frames.index, frames.mapcount]) {
      array.fill(1, start, end);
    }
  }
}

/** Booting the memory of the largest guest: time, and memory for each page. */
export async function guestSetup(): Promise<Report> {
  const before = settledMemory();
  const memory = GuestMemory.boot({ memoryBytes: GUEST_BYTES });
  const after = settledMemory();
  const { allocator } = memory;
  const scheduler = new Scheduler(new PausableClock(new VirtualClock()));
  const spaces = bootSpaces({ allocator, vmstat: newVmstat(), scheduler });
  const withSpaces = settledMemory();
  const { managedPages } = allocator;
  touchEveryPage(memory, spaces);
  const inUse = settledMemory();
  const ns = await inTurns(ROUNDS, {
    raw: { ...loop(1, () => fillArrays()) },
    boot: loop(1, () => {
      if (GuestMemory.boot({ memoryBytes: GUEST_BYTES }).allocator.managedPages !== managedPages) {
        throw new Error('two boots of one size differ');
      }
    }),
  });
  return {
    name: 'guest-setup',
    title: `memory of a 64 GiB guest, ${PAGES} pages`,
    baseline: 'arrays of 17 bytes a page, every page written once',
    rows: [
      {
        what: 'boot',
        figure: ns.boot / 1e9,
        unit: 's',
        raw: ns.raw / 1e9,
        goal: atMost('figure', 1),
        beside: 'limit L17: 0.05-0.10 for 16 bytes a page',
      },
      {
        what: 'memory reserved',
        figure: ownedBytes(before, after) / PAGES,
        unit: 'bytes/page',
        goal: atMost('figure', 24),
        beside: 'struct page of Linux: 64',
      },
      {
        what: 'memory touched',
        figure: (after.rss - before.rss) / PAGES,
        unit: 'bytes/page',
        goal: atMost('figure', 24),
      },
      {
        what: 'reserved, with address spaces',
        figure: ownedBytes(before, withSpaces) / PAGES,
        unit: 'bytes/page',
        beside: 'of it 3 % for the hole of 2 GiB below 4 GiB, which is never touched',
      },
      {
        what: 'touched when every page is mapped',
        figure: (inUse.rss - before.rss) / PAGES,
        unit: 'bytes/page',
        goal: atMost('figure', 32),
        beside: 'page tables apart',
      },
    ],
  };
}
