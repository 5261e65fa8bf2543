import type { PfnRange } from '../../shared/lib/pfn-ranges.ts';
import type { BalloonProperties } from './machine.ts';

/** Why a machine is gone, as the close of a link that comes too late says it. */
export type Departure = 'power-off' | 'guest-gone';

/**
 * What a host has to know of a guest after its own death. Not kept are ledgers, `actual` and
 * statistics, which a guest that comes back tells again, and whether its machine was paused.
 */
export interface KeptGuest {
  readonly guest: string;
  readonly epoch: number;
  readonly regions: readonly PfnRange[];
  /** Bytes that shall remain to the guest; absent while that is all of RAM. */
  readonly targetBytes?: number;
  readonly pollingIntervalSeconds: number;
  readonly qomId: string;
  readonly properties: BalloonProperties;
  /** The balloon was unplugged; `qomId` and `properties` are those it had. */
  readonly unplugged?: true;
  /** The machine shut down: its epoch must not come back, its target waits for a later one. */
  readonly departure?: Departure;
}

/** A record could not be kept, so what it says must not be acknowledged. One line. */
export class KeepError extends Error {
  override readonly name = 'KeepError';
}

/** Where a host keeps its guests; host/store has the one on a disk. */
export interface GuestKeeper {
  /** The last record of each guest, in the order guests first came; departed ones too. */
  list(): readonly KeptGuest[];
  /** The record is safe when this returns. Throws KeepError; the record before it counts then. */
  put(record: KeptGuest): void;
}
