import { GuestMemory } from '../../guest/mm/memory.ts';
import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { LocalBalloon, scatter, shuffled } from './local-balloon.ts';
import { type Contender, inTurns, millions, nowNs } from './measure.ts';
import { AosBalloon } from './raw/aos-balloon.ts';
import { atLeast, type Report, type Row } from './report.ts';

const GUEST_BYTES = 16 * GIB;
const LARGEST_BYTES = 64 * GIB;
const PAGES = GUEST_BYTES / PAGE_SIZE;
/** A quarter of memory: half of the free half. */
const MOVED_PAGES = PAGES / 4;
const ROUNDS = 5;

function scatterRaw(zone: AosBalloon): void {
  for (let count = 0; count < PAGES; count++) zone.alloc(0);
  const order = shuffled(PAGES);
  for (let index = 0; index < PAGES >> 1; index++) zone.release(order[index], 0);
}

/** Inflation and deflation of a guest whose memory is half in use, page by page at random. */
export async function inflateDeflate(): Promise<Report> {
  const zone = new AosBalloon(PAGES);
  scatterRaw(zone);
  const memory = GuestMemory.boot({ memoryBytes: GUEST_BYTES });
  scatter(memory);
  const balloon = new LocalBalloon(memory);
  const contender = (run: (pageCount: number) => void): Contender => ({
    operations: MOVED_PAGES,
    run: () => {
      const start = nowNs();
      run(MOVED_PAGES);
      return nowNs() - start;
    },
  });
  const ns = await inTurns(ROUNDS, {
    rawInflate: contender((pageCount) => zone.inflate(pageCount)),
    inflate: contender((pageCount) => balloon.inflate(pageCount)),
    rawDeflate: contender((pageCount) => zone.deflate(pageCount)),
    deflate: contender((pageCount) => balloon.deflate(pageCount)),
  });
  const row = (what: string, puff: number, raw: number, beside: string): Row => ({
    what,
    figure: millions(puff),
    unit: 'M pages/s',
    raw: millions(raw),
    goal: atLeast('ratio', 0.4),
    beside: `${puff.toFixed(0)} ns; real guests: ${beside}`,
  });
  const largest = shrinkLargest();
  return {
    name: 'inflate-deflate',
    title: '16 GiB half used at random, a quarter of it in batches of 256, without the wire',
    baseline: 'linked buddy lists, a page in one place, one migratetype (limits L9, L10: 9)',
    rows: [
      row('inflate', ns.inflate, ns.rawInflate, 'UML 0.73, TCG 0.13-0.17, KVM 0.25'),
      row('deflate', ns.deflate, ns.rawDeflate, 'UML 7.9, TCG 0.93, KVM 0.61'),
      { what: 'fresh 64 GiB to a quarter', figure: largest.inflateSeconds, unit: 's' },
      { what: 'and back', figure: largest.deflateSeconds, unit: 's' },
    ],
  };
}

/** The largest guest, just booted, down to a quarter of its memory and back, once. */
function shrinkLargest(): { inflateSeconds: number; deflateSeconds: number } {
  const memory = GuestMemory.boot({ memoryBytes: LARGEST_BYTES });
  const balloon = new LocalBalloon(memory);
  const pageCount = ((LARGEST_BYTES / PAGE_SIZE) * 3) / 4;
  const start = nowNs();
  balloon.inflate(pageCount);
  const inflated = nowNs();
  balloon.deflate(pageCount);
  return { inflateSeconds: (inflated - start) / 1e9, deflateSeconds: (nowNs() - inflated) / 1e9 };
}
