import { describe, expect, it } from 'vitest';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { listDel } from '../../../../guest/mm/page/page-list.ts';
import { PG_ACTIVE, PG_ANON_EXCLUSIVE } from '../../../../guest/mm/space/frames.ts';
import { makePte, PTE_ACCESSED, PTE_WRITE } from '../../../../guest/mm/space/pte.ts';
import { verifySpaces } from '../../../../guest/mm/space/verify.ts';
import { type TestProcess, World } from './support.ts';

interface Scene {
  readonly world: World;
  readonly process: TestProcess;
  readonly start: number;
  /** A mapped frame, and the position of the entry that maps it. */
  readonly pfn: number;
  readonly at: number;
}

function scene(): Scene {
  const world = new World();
  const process = world.newProcess();
  const start = world.run(mmap(world.spaces, process.mm, { pageCount: 8, huge: 'no' }));
  for (let page = 0; page < 8; page++) process.write(start + page, page);
  world.spaces.lru.drain();
  const at = world.spaces.tables.pteAt(process.mm.pgdBase, start);
  world.verify();
  return { world, process, start, pfn: process.frame(start, false), at };
}

/** Each breaks one thing; the verifier has to name it. */
const BREAKAGES: Record<string, (scene: Scene) => void> = {
  'mapcounts count the mappings': ({ world, pfn }) => {
    world.spaces.frames.mapcount[pfn]++;
  },
  'every reference has a holder': ({ world, pfn }) => {
    world.spaces.frames.get(pfn);
  },
  'resident pages are counted': ({ process }) => {
    process.mm.rss[1]++;
  },
  'only frames in use are mapped': ({ world, at }) => {
    const freed = world.memory.allocator.alloc(0, 0);
    world.memory.allocator.free(freed, 0);
    world.spaces.tables.entries[at] = makePte(freed, PTE_ACCESSED);
  },
  'the reverse map finds every mapping': ({ world, process }) => {
    for (const vma of process.mm.vmas) vma.anonVma?.vmas.delete(vma);
    expect(world.spaces.anonVmas.count).toBe(1);
  },
  'a page knows its index': ({ world, pfn }) => {
    world.spaces.frames.index[pfn]++;
  },
  'a private page that may be written is exclusive': ({ world, pfn }) => {
    world.spaces.frames.clear(pfn, PG_ANON_EXCLUSIVE);
  },
  'only writable VMAs map for writing': ({ process }) => {
    for (const vma of process.mm.vmas) vma.flags &= ~1;
  },
  'a page is on the LRU list its flags name': ({ world, pfn }) => {
    world.spaces.frames.set(pfn, PG_ACTIVE);
  },
  'LRU lists are counted': ({ world, pfn }) => {
    listDel(world.memory.pages.words, pfn);
  },
  'the TLB agrees with page tables': ({ world, at }) => {
    world.spaces.tables.entries[at] &= ~PTE_WRITE;
  },
  'nothing is mapped outside of VMAs': ({ process }) => {
    for (const vma of process.mm.vmas) vma.start += 1;
  },
  'every page table hangs in one place': ({ world }) => {
    const pfn = world.memory.allocator.alloc(0, 0);
    world.spaces.tables.adopt(pfn);
  },
  'an address space counts its tables': ({ process }) => {
    process.mm.tablePages++;
  },
  'nr_page_table_pages counts PTE and PMD tables': ({ world }) => {
    world.vmstat.nr_page_table_pages++;
  },
  'a cached page names its file and index': ({ world }) => {
    const [file] = world.spaces.files;
    if (file !== undefined) world.spaces.frames.index[file.page(3)] = 4;
  },
  'no free or ballooned frame is mapped or cached': ({ world, at }) => {
    const pfn = world.memory.allocator.allocBalloonPage();
    world.memory.newBalloon({ adjustManagedPageCount: true }).enqueue(pfn);
    world.spaces.tables.entries[at] = makePte(pfn, PTE_ACCESSED);
  },
  'nr_anon_pages counts mapped pages': ({ world }) => {
    world.vmstat.nr_anon_pages++;
  },
  'the page of a migration entry is locked': ({ world, at }) => {
    world.spaces.tables.entries[at] = 4 | (7000 << 7);
  },
};

describe('the verifier of address spaces', () => {
  for (const [invariant, breakIt] of Object.entries(BREAKAGES)) {
    it(`sees that ${invariant} no longer`, () => {
      const broken = scene();
      breakIt(broken);
      const named = verifySpaces(broken.world.spaces).map((text) => text.split(':')[0]);
      expect(named).toContain(invariant);
    });
  }
});
