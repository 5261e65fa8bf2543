import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../../shared/lifecycle/compile.ts';

/**
 * Who owns a page frame. This state is the only record of ownership: PageBuddy, PageOffline,
 * PageIsolated, PageLRU and PageReserved of the kernel are derived from it where they are printed.
 * Whether a free frame begins a block, and of which order, is a number beside it (page-map.ts).
 */
const pageMachine = setup({}).createMachine({
  id: 'page',
  initial: 'reserved',
  states: {
    reserved: {
      description: 'Never managed: firmware, holes, the kernel image, memmap. A zeroed array.',
      on: { release: 'free', claim: 'allocated' },
    },
    free: {
      description: 'In a block on one of the buddy free lists.',
      on: { take: 'allocated', refill: 'pcp', isolate: 'isolatedFree' },
    },
    pcp: {
      description: 'In a block on one of the per-CPU lists.',
      on: { handOut: 'allocated', drain: 'free' },
    },
    allocated: {
      description: 'Held by whoever asked for it.',
      on: { cache: 'pcp', merge: 'free', lruAdd: 'lru', inflate: 'balloon' },
    },
    lru: {
      description: 'Mapped or cached and on an LRU list.',
      tags: ['movable'],
      on: { lruDel: 'allocated' },
    },
    balloon: {
      description: 'On the page list of a balloon.',
      tags: ['movable', 'offline'],
      on: { deflate: 'allocated', isolate: 'balloonIsolated' },
    },
    balloonIsolated: {
      description: 'Off the list of its balloon, in the hands of migration.',
      tags: ['movable', 'offline'],
      on: { putback: 'balloon', replace: 'balloonReplaced' },
    },
    balloonReplaced: {
      description: 'Isolated, and another page has its place in the book; the host has both.',
      tags: ['movable', 'offline'],
      on: { deflate: 'allocated' },
    },
    isolatedFree: {
      description: 'Borrowed from the free lists: by a report under way, or to migrate pages to.',
      on: { putback: 'free', take: 'allocated' },
    },
  },
});

export const PAGE_STATE = {
  reserved: 0,
  free: 1,
  pcp: 2,
  allocated: 3,
  lru: 4,
  balloon: 5,
  balloonIsolated: 6,
  balloonReplaced: 7,
  isolatedFree: 8,
} as const satisfies Record<StateValueFrom<typeof pageMachine>, number>;

export const PAGE_EVENT = {
  /** memblock hands the frame to the buddy allocator at boot. */
  release: 0,
  /** In use by the kernel since before the allocator was there. */
  claim: 1,
  /** rmqueue_buddy, split_map_pages: from the free lists to whoever asked. */
  take: 2,
  /** rmqueue_bulk. */
  refill: 3,
  /** Taken from a per-CPU list. */
  handOut: 4,
  /** free_pcppages_bulk. */
  drain: 5,
  /** free_unref_page_commit. */
  cache: 6,
  /** free_one_page: straight back to the free lists. */
  merge: 7,
  lruAdd: 8,
  lruDel: 9,
  /** balloon_page_insert. */
  inflate: 10,
  /** balloon_page_delete. */
  deflate: 11,
  /** balloon_page_isolate, __isolate_free_page. */
  isolate: 12,
  /** balloon_page_putback, __putback_isolated_page. */
  putback: 13,
  /** virtballoon_migratepage, first step: the new page is in the book. */
  replace: 14,
} as const;

export const pageLifecycle = {
  machine: pageMachine,
  table: compileLifecycle(pageMachine, { states: PAGE_STATE, events: PAGE_EVENT }),
};
