import { GuestMemory } from '../../guest/mm/memory.ts';
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

/** Booting the memory of the largest guest: time, and memory for each page. */
export async function guestSetup(): Promise<Report> {
  const before = settledMemory();
  const memory = GuestMemory.boot({ memoryBytes: GUEST_BYTES });
  const after = settledMemory();
  const owned = (key: 'arrayBuffers' | 'heapUsed'): number => after[key] - before[key];
  const bytesPerPage = (owned('arrayBuffers') + owned('heapUsed')) / PAGES;
  const managedPages = memory.allocator.managedPages;
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
        figure: bytesPerPage,
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
    ],
  };
}
