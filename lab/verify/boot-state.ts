import { z } from 'zod';
import { MIGRATETYPE_NAMES, MIGRATETYPES } from '../../guest/mm/page/gfp.ts';
import { MAX_ORDER } from '../../guest/mm/page/page-map.ts';
import { ZONE_NAMES } from '../../guest/mm/page/zone.ts';
import { checked, parse, readOptionalLines } from './files.ts';

/**
 * What a recorded guest told of its free memory after boot, in /proc/pagetypeinfo and
 * /proc/zoneinfo: how many blocks of which order and migratetype there were. Where they were, it
 * did not tell.
 */
export interface BootState {
  readonly zones: readonly ZoneState[];
}

export interface ZoneState {
  readonly name: (typeof ZONE_NAMES)[number];
  readonly startPfn: number;
  readonly spannedPages: number;
  readonly presentPages: number;
  readonly managedPages: number;
  /** min, low, high. */
  readonly watermark: readonly [min: number, low: number, high: number];
  readonly lowmemReserve: readonly number[];
  readonly pcp: { readonly count: number; readonly high: number; readonly batch: number };
  /** Free blocks by [migratetype][order]. */
  readonly freeBlocks: readonly (readonly number[])[];
  /** Pageblocks by migratetype. */
  readonly pageblocks: readonly number[];
}

/** What the guest printed of itself: a line for each snapshot of /proc. */
export const GUEST_FILE = 'guest.jsonl.gz';
const BOOT_LABEL = 'boot';

const SNAPSHOT = z.object({
  label: z.string(),
  pagetypeinfo: z.string().optional(),
  zoneinfo: z.string().optional(),
});

/**
 * The state of the snapshot labelled `boot`; undefined where there is none, or where it is of a
 * guest with several nodes. Throws UnusableRecording for a file that is none.
 */
export function readBootState(directory: string): BootState | undefined {
  const snapshots = readOptionalLines(directory, GUEST_FILE).map(({ text, where }) => {
    return checked(SNAPSHOT, parse(text, where), where);
  });
  const boot = snapshots.find(({ label }) => label === BOOT_LABEL);
  if (boot?.pagetypeinfo === undefined || boot.zoneinfo === undefined) return undefined;
  return parseBootState(boot.pagetypeinfo, boot.zoneinfo);
}

/** The same from the texts of the two files; undefined where they do not fit one another. */
export function parseBootState(pagetypeinfo: string, zoneinfo: string): BootState | undefined {
  if (/^Node\s+[1-9]/m.test(zoneinfo)) return undefined;
  const sections = zoneinfo.split(/^Node 0, zone\s+/m).slice(1);
  const zones = sections.flatMap((section) => parseZone(section, pagetypeinfo));
  return zones.length === 0 || zones.includes(undefined)
    ? undefined
    : { zones: zones as ZoneState[] };
}

/** None for a zone without memory, undefined for one whose text is not understood. */
function parseZone(section: string, pagetypeinfo: string): (ZoneState | undefined)[] {
  const [title = ''] = section.split(/\s/, 1);
  const name = ZONE_NAMES.find((known) => known === title);
  const number = (field: string): number => {
    return Number(new RegExp(`^\\s*${field}:?\\s+(\\d+)`, 'm').exec(section)?.[1] ?? Number.NaN);
  };
  if (name === undefined || number('present') === 0) return [];
  const protection = /protection: \(([\d, ]*)\)/.exec(section)?.[1] ?? '';
  const zone: ZoneState = {
    name,
    startPfn: number('start_pfn'),
    spannedPages: number('spanned'),
    presentPages: number('present'),
    managedPages: number('managed'),
    watermark: [number('min'), number('low'), number('high')],
    lowmemReserve: protection.split(',').map(Number),
    pcp: { count: number('count'), high: number('high:'), batch: number('batch') },
    freeBlocks: freeBlocks(pagetypeinfo, name),
    pageblocks: pageblocks(pagetypeinfo, name),
  };
  return [isWhole(zone) ? zone : undefined];
}

function isWhole({ freeBlocks, pageblocks, watermark, pcp, ...zone }: ZoneState): boolean {
  const numbers = [
    ...watermark,
    ...zone.lowmemReserve,
    ...pageblocks,
    ...freeBlocks.flat(),
    ...Object.values(pcp),
    zone.startPfn,
    zone.spannedPages,
    zone.managedPages,
  ];
  const isComplete = freeBlocks.every((counts) => counts.length === MAX_ORDER);
  return isComplete && pageblocks.length === MIGRATETYPES && numbers.every(Number.isInteger);
}

/** Lines such as `Node 0, zone DMA32, type Movable 3 3 4 ...`. */
function freeBlocks(pagetypeinfo: string, zone: string): number[][] {
  return MIGRATETYPE_NAMES.map((type) => {
    const line = new RegExp(`^Node\\s+0, zone\\s+${zone}, type\\s+${type}\\s+(.*)$`, 'im');
    return numbersOf(line.exec(pagetypeinfo)?.[1]);
  });
}

/** The line of the zone behind the heading `Number of blocks type`. */
function pageblocks(pagetypeinfo: string, zone: string): number[] {
  const [, counts = ''] = pagetypeinfo.split(/^Number of blocks type.*$/m);
  return numbersOf(new RegExp(`^Node 0, zone\\s+${zone}\\s+(.*)$`, 'm').exec(counts)?.[1]);
}

function numbersOf(text: string | undefined): number[] {
  return (text ?? '').trim().split(/\s+/).map(Number);
}
