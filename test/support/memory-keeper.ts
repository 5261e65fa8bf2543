import { type GuestKeeper, KeepError, type KeptGuest } from '../../host/vmm/guest-keeper.ts';

/** Keeps records in memory: what a store does without a disk, and a disk that fails at will. */
export class MemoryKeeper implements GuestKeeper {
  /** Every record put, the oldest first. */
  readonly puts: KeptGuest[] = [];
  failing = false;
  /** Called before a record is safe. */
  onPut: (record: KeptGuest) => void = () => {};
  readonly #known = new Map<string, KeptGuest>();

  list(): readonly KeptGuest[] {
    return [...this.#known.values()];
  }

  put(record: KeptGuest): void {
    this.onPut(record);
    if (this.failing) throw new KeepError('cannot write the store: no space left on device');
    // As through a file: later changes of the caller's objects do not show.
    const copy = JSON.parse(JSON.stringify(record)) as KeptGuest;
    this.puts.push(copy);
    this.#known.set(copy.guest, copy);
  }
}
