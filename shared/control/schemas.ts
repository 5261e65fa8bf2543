import { z } from 'zod';
import { MAX_NR_HUGEPAGES } from '../limits.ts';

/**
 * The control channel of host and guest: a unix socket, one JSON object a line in both directions.
 * A request is `{"verb": NAME, ...arguments, "id"?: any}`; the answer is `{"ok": true, "result":
 * ..., "id"?}` or `{"ok": false, "error": TEXT, "id"?}`. Answers come in the order of requests.
 */
const guestId = z.string().min(1);

/** Sizes are bytes, written as QMP does: what remains to the guest. */
export const hostRequestSchema = z.discriminatedUnion('verb', [
  z.strictObject({ verb: z.literal('list'), id: z.unknown().optional() }),
  z.strictObject({ verb: z.literal('counters'), id: z.unknown().optional() }),
  z.strictObject({ verb: z.literal('health'), id: z.unknown().optional() }),
  z.strictObject({
    verb: z.literal('balloon'),
    guest: guestId,
    bytes: z.int().positive(),
    id: z.unknown().optional(),
  }),
  z.strictObject({ verb: z.literal('stats'), guest: guestId, id: z.unknown().optional() }),
  z.strictObject({
    verb: z.literal('ledger'),
    guest: guestId,
    pfns: z.boolean().default(false),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('hint'),
    guest: guestId,
    action: z.enum(['start', 'stop', 'done']),
    id: z.unknown().optional(),
  }),
  z.strictObject({ verb: z.literal('cut'), guest: guestId, id: z.unknown().optional() }),
  z.strictObject({ verb: z.literal('ticket'), id: z.unknown().optional() }),
]);
export type HostRequest = z.infer<typeof hostRequestSchema>;

/** A verb of the module or the machine: for all balloon devices of the guest. */
const driverVerb = <Name extends string>(verb: Name) =>
  z.strictObject({ verb: z.literal(verb), guest: guestId.optional(), id: z.unknown().optional() });

/** A verb for one balloon device, by its id: the first where none is named. */
const deviceVerb = <Name extends string>(verb: Name) =>
  z.strictObject({
    verb: z.literal(verb),
    guest: guestId.optional(),
    device: guestId.optional(),
    id: z.unknown().optional(),
  });

/** Sizes of persistent huge pages, each with a pool of its own. */
export const hugePageSize = z.enum(['2M', '1G']);
export type HugePageSize = z.infer<typeof hugePageSize>;

export const guestRequestSchema = z.discriminatedUnion('verb', [
  deviceVerb('unbind'),
  deviceVerb('bind'),
  driverVerb('rmmod'),
  driverVerb('insmod'),
  driverVerb('suspend'),
  driverVerb('resume'),
  z.strictObject({
    verb: z.literal('compact_memory'),
    guest: guestId.optional(),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('nr_hugepages'),
    guest: guestId.optional(),
    count: z.int().min(0).max(MAX_NR_HUGEPAGES),
    size: hugePageSize.default('2M'),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('compaction_proactiveness'),
    guest: guestId.optional(),
    value: z.int().min(0).max(100),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('pagemap'),
    guest: guestId.optional(),
    cellPages: z.int().positive().default(512),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('kill'),
    guest: guestId.optional(),
    pid: z.int().positive(),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('run'),
    guest: guestId.optional(),
    program: z.looseObject({ name: z.string() }),
    id: z.unknown().optional(),
  }),
  z.strictObject({
    verb: z.literal('dump'),
    guest: guestId.optional(),
    device: guestId.optional(),
    pfns: z.boolean().default(false),
    id: z.unknown().optional(),
  }),
]);
export type GuestRequest = z.infer<typeof guestRequestSchema>;

/** One guest as `list` shows it. */
export interface HostGuestSummary {
  readonly id: string;
  readonly status: string;
  readonly connected: boolean;
  readonly driverOk: boolean;
  readonly ramBytes: number;
  readonly targetBytes: number;
  readonly actualBytes: number;
  /** Pages the ledger holds as given to the balloon. */
  readonly ledgerPages: number;
  readonly buffersInFlight: number;
  /** State of the slot the balloon belongs in, on a host with hot plug. */
  readonly slot?: string;
  /** Where the guest's QMP is served: paths of unix sockets and HOST:PORT. */
  readonly qmp?: readonly string[];
}

/** What compacting a guest's memory came to; in pages where pages count. */
export interface CompactionSummary {
  readonly migrated: number;
  readonly failed: number;
  /** Of those migrated the balloon's. */
  readonly balloonMigrated: number;
  readonly isolated: number;
  readonly migrateScanned: number;
  readonly freeScanned: number;
  /** Huge pages of 2 MiB that could be had of the free blocks, before and after. */
  readonly freeHugePages: readonly [before: number, after: number];
}

/** What a frame can hold, as `pagemap` counts it. `free` includes the per-CPU lists. */
export const PAGE_KINDS = ['free', 'balloon', 'movable', 'unmovable', 'reserved'] as const;
export type PageKind = (typeof PAGE_KINDS)[number];

/** Frames of one piece of RAM by what they hold: a number of each kind for every cell. */
export interface PageMapRegion extends Readonly<Record<PageKind, readonly number[]>> {
  readonly startPfn: number;
  /** The last cell may have fewer frames than the others. */
  readonly pageCount: number;
}

export interface PageMapView {
  /** Frames of a cell. */
  readonly cellPages: number;
  readonly regions: readonly PageMapRegion[];
}

/** What `dump` shows of one balloon device. */
export interface BalloonDump {
  /** What its host calls the machine: the guest's id for the first device. */
  readonly id: string;
  readonly connection: string;
  readonly driver: string;
  readonly status: number;
  readonly features: string;
  readonly numPages: number;
  readonly targetPages: number;
  readonly listPages: number;
  readonly isolatedPages: number;
  /** Pages allocated for hints of free pages. */
  readonly hintedPages: number;
  readonly buffersInFlight: number;
  readonly resizing: boolean;
  /** What its host wanted of memory or machine that are not its own; the first owns both. */
  readonly refused: {
    readonly discard_pages_refused: number;
    readonly power_verbs_refused: number;
  };
  /** Balloon list, oldest first, when asked for. */
  readonly pfns?: readonly number[];
}

/**
 * What `dump` shows of a guest. What is of one balloon device is the first's, or that of the one
 * named.
 */
export interface GuestDump extends BalloonDump {
  /** The guest's, whichever device is shown. */
  readonly id: string;
  readonly power: string;
  /** Every balloon device, the first one first. */
  readonly balloons: readonly BalloonDump[];
  /** Free blocks by order, all zones together. */
  readonly freeBlocks: readonly number[];
  /** Pages in the pool of persistent huge pages (nr_hugepages). */
  readonly hugePages: number;
  /** The same of 1 GiB. */
  readonly hugePages1G: number;
  /** Pages of the swap device and those that are free, 0 without one. */
  readonly swap: { readonly pages: number; readonly freePages: number };
  /** vmstat's events of compaction and balloons. */
  readonly compaction: Readonly<Record<string, number>>;
  readonly canariesWrong: number;
  readonly statistics: Readonly<Record<string, number>>;
  readonly processes: readonly {
    readonly pid: number;
    readonly name: string;
    readonly pages: number;
  }[];
  readonly tasks: readonly { readonly name: string; readonly at: string }[];
}
