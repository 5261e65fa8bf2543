import type { BalloonCompaction } from '../../guest/mm/balloon/compaction-mode.ts';
import type { CompactionSummary, GuestDump, PageMapView } from '../../shared/control/schemas.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { formatSize, GIB, MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { table } from '../demo/report.ts';
import { Fleet, type FleetView, withFleet } from '../fleet.ts';
import type { Output } from '../progress.ts';
import { compactWithBar, type Watched } from './compact-with-bar.ts';
import { drawPageMap, legend, type MapStyle } from './page-map-text.ts';

/**
 * `puff run fragmentation`: a balloon inflated into the holes that a program left, and what
 * compaction makes of it once the program has ended, with balloon pages that can be moved and with
 * pages that cannot. Real processes. kcompactd, which goes by the clock, does nothing by itself,
 * and each step is waited for, so that two runs print the same but for process ids and, on a
 * terminal, a bar while pages move.
 *
 * Most of the time is theirs: the driver tells the host of each page twice and waits for it, as
 * Linux' does, which between two processes is some 0.1 ms a page.
 */
export interface FragmentationOptions {
  readonly memoryBytes: number;
  /** One guest for each. */
  readonly modes: readonly BalloonCompaction[];
  /** When to look how far compaction is, where there is a bar. */
  readonly clock: Clock;
}

/** With less the programs and the balloon do not fit into it. */
export const MIN_FRAGMENTATION_BYTES = 256 * MIB;

/** Parts of memory: the program that ends, the one that stays, the balloon. */
const ENDING_PART = 0.7;
const STAYING_PART = 0.04;
const BALLOON_PART = 0.39;
/** Both programs give back two pages of three. */
const KEEP_EVERY = 3;
/** As good as for ever. */
const HOLD_SECONDS = 1_000_000;

/** Measured with 1 to 64 GiB, where balloon pages can be moved. */
const START_SECONDS = 2;
const SECONDS_PER_GIB = 5;
const WORTH_TELLING_SECONDS = 10;
/** Ten times what is usual, for machines that are slow or busy. */
const PATIENCE = 10;

/** A map has at most so many cells; they are at least an eighth of a pageblock. */
const MAP_CELLS = { colour: 2048, plain: 1024 };
const LEAST_CELL_PAGES = 64;
const PAGEBLOCK_ORDER = 9;

/** One guest's way through the scenario. */
interface Story {
  readonly mode: BalloonCompaction;
  readonly before: GuestDump;
  readonly after: GuestDump;
  readonly compaction: CompactionSummary;
}

/**
 * Plays the scenario and writes maps and figures to `output`. Rejects with what keeps processes
 * from starting or answering; they have ended and their folder is gone in every case.
 */
export async function runFragmentation(
  options: FragmentationOptions,
  style: MapStyle,
  output: Output,
  abort: AbortSignal = new AbortController().signal,
): Promise<void> {
  const { memoryBytes, modes, clock } = options;
  const fleet = new Fleet({
    guests: modes.map((mode) => {
      return { id: mode, memoryBytes, workload: 'none', balloonCompaction: mode } as const;
    }),
  });
  await withFleet(fleet, abort, async () => {
    await fleet.start();
    output.write(`${introduction(options)}\nThe ${fleet.about}.\n`);
    const stories: Story[] = [];
    const stage = { fleet, memoryBytes, clock, style, output };
    for (const mode of modes) stories.push(await play(stage, mode));
    output.write(`\n${conclusion(stories)}`);
  });
}

function mibOf(memoryBytes: number, part: number): number {
  return Math.round((memoryBytes / MIB) * part);
}

/** About how long it takes where balloon pages can be moved. */
function expectedSeconds(memoryBytes: number): number {
  return Math.round(START_SECONDS + (memoryBytes / GIB) * SECONDS_PER_GIB);
}

function introduction({ memoryBytes, modes }: FragmentationOptions): string {
  const [ending, staying, balloon] = [ENDING_PART, STAYING_PART, BALLOON_PART].map((part) => {
    return `${mibOf(memoryBytes, part)} MiB`;
  });
  const seconds = modes.some((mode) => mode !== 'off') ? expectedSeconds(memoryBytes) : 0;
  return (
    `A program touches ${ending} of a guest's ${formatSize(memoryBytes)} and gives back two ` +
    `pages of three; another\none does so with ${staying} and stays. A balloon of ${balloon} ` +
    'takes what is free, then the first\nprogram ends. What is free now lies between pages of ' +
    'the balloon: compact_memory is to make\nblocks of 2 MiB of it, huge pages.' +
    (seconds < WORTH_TELLING_SECONDS ? '' : ` That takes about ${seconds} seconds.`)
  );
}

/** Where a story is played and told. */
interface Stage extends Watched {
  readonly memoryBytes: number;
  readonly style: MapStyle;
}

async function play(stage: Stage, mode: BalloonCompaction): Promise<Story> {
  const { fleet, memoryBytes, style, output } = stage;
  const request = { verb: 'pagemap', cellPages: cellPagesFor(memoryBytes, style) };
  const look = (): Promise<PageMapView> => fleet.guest<PageMapView>(mode, request);
  await fragment(fleet, mode, memoryBytes);
  const before = await dump(fleet, mode);
  const view = await look();
  output.write(`\n${WITH[mode]}, before compact_memory:\n${drawPageMap(view, style)}`);
  const compaction = await compact(stage, mode, before.listPages);
  await fleet.settled(mode, patienceMs(memoryBytes));
  const after = await dump(fleet, mode);
  output.write(`\n${WITH[mode]}, after it:\n${drawPageMap(await look(), style)}`);
  output.write(legend(view, style));
  return { mode, before, after, compaction };
}

function compact(stage: Stage, mode: BalloonCompaction, pages: number): Promise<CompactionSummary> {
  if (mode !== 'off' && stage.output.isTTY) return compactWithBar(stage, mode, pages);
  return stage.fleet.guest<CompactionSummary>(mode, { verb: 'compact_memory' });
}

function patienceMs(memoryBytes: number): number {
  return PATIENCE * expectedSeconds(memoryBytes) * 1000;
}

/** Each step is waited for, so that memory is asked for in the same order every time. */
async function fragment(fleet: Fleet, id: string, memoryBytes: number): Promise<void> {
  const timeoutMs = patienceMs(memoryBytes);
  await fleet.guest(id, { verb: 'compaction_proactiveness', value: 0 });
  for (const [count, part] of [ENDING_PART, STAYING_PART].entries()) {
    const size = { mib: mibOf(memoryBytes, part), keepEvery: KEEP_EVERY, seconds: HOLD_SECONDS };
    await fleet.guest(id, { verb: 'run', program: { name: 'frag', ...size } });
    const sleeps = ({ dump: { tasks } }: FleetView): boolean => {
      return tasks.filter(({ at }) => at === 'frag sleeps').length > count;
    };
    await fleet.until(id, sleeps, { timeoutMs });
  }
  const qmp = await fleet.qmp(id);
  const balloonBytes = mibOf(memoryBytes, BALLOON_PART) * MIB;
  await qmp.execute('balloon', { value: memoryBytes - balloonBytes });
  const { dump: settled } = await fleet.settled(id, timeoutMs);
  await qmp.close();
  const [first] = [...settled.processes].sort((a, b) => a.pid - b.pid);
  await fleet.guest(id, { verb: 'kill', pid: first?.pid });
  await fleet.until(id, ({ dump: { processes } }) => processes.length === 1, { timeoutMs });
}

function dump(fleet: Fleet, id: string): Promise<GuestDump> {
  return fleet.guest<GuestDump>(id, { verb: 'dump' });
}

/** Small enough to see a pageblock's inside, large enough that a map fits a screen. */
function cellPagesFor(memoryBytes: number, { colour }: MapStyle): number {
  const most = colour ? MAP_CELLS.colour : MAP_CELLS.plain;
  let pages = LEAST_CELL_PAGES;
  while (memoryBytes / PAGE_SIZE / pages > most) pages *= 2;
  return pages;
}

const WITH: Readonly<Record<BalloonCompaction, string>> = {
  movable: 'Balloon pages can be moved',
  v2012: 'Balloon pages can be moved, as first posted in 2012',
  off: 'Balloon pages cannot be moved',
};

function conclusion(stories: readonly Story[]): string {
  const orders = Array.from({ length: 11 }, (_, order) => String(order));
  const rows = stories.flatMap(({ mode, before, after, compaction }) => {
    const [hugeBefore, hugeAfter] = compaction.freeHugePages;
    return [
      [`${mode}, before`, ...before.freeBlocks.map(String), String(hugeBefore)],
      [`${mode}, after`, ...after.freeBlocks.map(String), String(hugeAfter)],
    ];
  });
  const header = ['free blocks by order', ...orders, '2 MiB'];
  const sentences = stories.map(sentence).join('');
  const text = `${table(header, rows)}\n${sentences}`;
  return stories.some(({ mode }) => mode === 'off') ? `${text}\n${ABOUT_OFF}` : text;
}

function sentence({ mode, before, after, compaction }: Story): string {
  const { migrated, balloonMigrated, freeHugePages } = compaction;
  const [hugeBefore, hugeAfter] = freeHugePages;
  const free = after.freeBlocks.reduce((sum, blocks, order) => sum + (blocks << order), 0);
  const possible = free >> PAGEBLOCK_ORDER;
  return (
    `${mode}: compaction moved ${migrated} pages, ${balloonMigrated} of the ${before.listPages} ` +
    `of the balloon among them.\nBlocks of 2 MiB regained: ${hugeAfter - hugeBefore}; ` +
    `${hugeBefore} were free, ${hugeAfter} are; all that is free would make ${possible}.\n`
  );
}

const ABOUT_OFF = `A kernel that cannot move balloon pages asks for unmovable ones, and its
allocator keeps those together: fewer blocks have some, which is why more are free before
compaction. But each of the balloon's pages stays where it is, and so does the hole beside it.
`;
