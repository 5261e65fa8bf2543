import { assert, fail } from '../../../shared/lib/assert.ts';
import { Mutex } from '../../sched/mutex.ts';
import type { Scheduler } from '../../sched/scheduler.ts';
import { AddressSpace, DiskFile } from './address-space.ts';
import { MAX_MAPPING_ID } from './frames.ts';
import type { Vma } from './mm-types.ts';

/** A file as address spaces see it: its cached pages and who maps it. */
export type FileMapping = AddressSpace<Vma>;

/** All files that may have pages in memory, by the id that their pages carry. */
export class AddressSpaces {
  readonly #byId = new Map<number, FileMapping>();
  readonly #scheduler: Scheduler;
  #lastId = 0;

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
  }

  [Symbol.iterator](): IterableIterator<FileMapping> {
    return this.#byId.values();
  }

  get(id: number): FileMapping | undefined {
    return this.#byId.get(id);
  }

  /** An empty file: on disk, or of tmpfs. */
  create(kind: 'disk' | 'tmpfs'): FileMapping {
    assert(this.#lastId < MAX_MAPPING_ID, 'a guest makes fewer files than there are ids');
    const disk = kind === 'disk' ? new DiskFile() : undefined;
    const id = ++this.#lastId;
    const inodeLock = new Mutex(this.#scheduler, `inode lock of file ${id}`);
    const mapping: FileMapping = new AddressSpace(id, disk, inodeLock);
    this.#byId.set(mapping.id, mapping);
    return mapping;
  }

  /** clear_inode: nothing is cached or mapped any more. */
  remove(mapping: FileMapping): void {
    if (mapping.nrPages > 0) fail('a file that is removed has no cached pages', `${mapping.id}`);
    assert(mapping.vmas.size === 0, 'a file that is removed is mapped by nobody');
    this.#byId.delete(mapping.id);
  }
}
