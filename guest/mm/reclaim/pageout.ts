import { setup } from 'xstate';
import { procedure } from '../../../shared/lifecycle/procedure.ts';
import type { Waiting } from '../../sched/scheduler.ts';
import { MAPPING, PG_DIRTY, PG_RECLAIM, PG_SWAPCACHE } from '../space/frames.ts';
import { mappingOf, removeFromPageCache } from '../space/page-cache.ts';
import { beginPageWriteback, clearDirtyForIo, endPageWriteback } from '../space/page-io.ts';
import type { ReclaimNode } from './reclaim-node.ts';

/**
 * pageout of Linux 6.1 for one isolated and locked page that is dirty and mapped by nobody: to its
 * slot of the swap area, or to its file. Slot 1 of the frame is the page. Ends `sent` with the page
 * unlocked; `keep` and `activate` leave it locked and dirty.
 */

const EVENTS = { yes: 0, no: 1, swap: 2, shmem: 3, file: 4 } as const;
const { yes, no, swap, shmem, file } = EVENTS;
const PFN = 1;

const pageoutMachine = setup({}).createMachine({
  id: 'pageout',
  initial: 'freeable',
  states: {
    freeable: { on: { yes: 'kind', no: 'keep' } },
    kind: { on: { swap: 'clean', shmem: 'takeSlot', file: 'writeFile', no: 'keep' } },
    takeSlot: { on: { yes: 'leaveFile', no: 'activate' } },
    leaveFile: { on: { yes: 'writeSwap' } },
    clean: { on: { yes: 'writeSwap' } },
    writeSwap: { on: { yes: 'sent' } },
    writeFile: { on: { yes: 'sent' } },
    sent: { type: 'final' },
    keep: { type: 'final' },
    activate: { type: 'final' },
  },
});

export const pageout = procedure(pageoutMachine, EVENTS, {
  /** is_page_cache_freeable: nobody but the cache and the isolator refers to it. */
  freeable: (frame, { spaces }: ReclaimNode) =>
    spaces.frames.refcount(frame[PFN]) === 2 ? yes : no,
  kind: (frame, { spaces }) => {
    if (spaces.frames.has(frame[PFN], PG_SWAPCACHE)) return swap;
    if (spaces.frames.mappingKind(frame[PFN]) !== MAPPING.file) return no;
    return mappingOf(spaces, frame[PFN]).isShmem ? shmem : file;
  },
  /** shmem_writepage: a page of tmpfs gets its slot only now. */
  takeSlot: (frame, node) => (node.swap?.cache.addNew(frame[PFN]) === true ? yes : no),
  /** Page lock and lock of the mapping: the slot takes the page's place in its file. */
  leaveFile: (frame, { spaces, swap: pager }) => {
    const slot = pager?.cache.slotOf(frame[PFN]) ?? -1;
    removeFromPageCache(spaces, frame[PFN], slot);
    pager?.slots.addEntry(slot);
    spaces.refs.put(frame[PFN]);
    return yes;
  },
  /** folio_clear_dirty_for_io: of a page nobody maps. */
  clean: (frame, { spaces }) => {
    spaces.frames.clear(frame[PFN], PG_DIRTY);
    return yes;
  },
  /** swap_writepage unlocks the page. */
  writeSwap: (frame, node) => {
    node.swap?.writePage(frame[PFN]);
    node.spaces.vmstat.nr_vmscan_write++;
    return yes;
  },
  /** a_ops->writepage of a file on disk, for the one page. */
  writeFile: (frame, { spaces, scheduler }) => {
    const pfn = frame[PFN];
    if (clearDirtyForIo(spaces, pfn)) {
      spaces.frames.set(pfn, PG_RECLAIM);
      beginPageWriteback(spaces, mappingOf(spaces, pfn), pfn);
      spaces.vmstat.nr_vmscan_write++;
      scheduler.spawn('file write', writtenAfter(spaces, pfn));
    }
    spaces.waits.unlock(pfn);
    return yes;
  },
});

function* writtenAfter(spaces: ReclaimNode['spaces'], pfn: number): Waiting {
  yield spaces.diskMs;
  endPageWriteback(spaces, pfn);
}
