import type { Waiting } from '../../sched/scheduler.ts';
import { __GFP_COMP, __GFP_ZERO, GFP_HIGHUSER_MOVABLE } from '../page/gfp.ts';
import { PageSource } from '../space/alloc-pages.ts';
import { type Mm, VM_LOCKED, type Vma } from '../space/mm-types.ts';
import { migrationPfn } from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';

/** What one attempt to resolve a fault came to. */
export const FAULT = {
  /** The access can be repeated. */
  done: 0,
  /** `source` has no page: fetch one and try again. */
  noPage: 1,
  /** Something has to happen first: `after` waits for it. */
  retry: 2,
  /** Try again with small pages. */
  fallback: 3,
  /** No VMA, or one that may not be written. */
  sigsegv: 4,
  /** Behind the end of the file. */
  sigbus: 5,
  /** No memory, and the process is to die for it. */
  oom: 6,
} as const;
export type FaultResult = (typeof FAULT)[keyof typeof FAULT];

/** Recorded: of new anonymous pages, and of copies. */
export const GFP_ANON = GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_ZERO;
export const GFP_COPY = GFP_HIGHUSER_MOVABLE | __GFP_COMP;

/**
 * One page fault (struct vm_fault). Attempts to resolve it never wait: where the kernel would, the
 * attempt ends and says for what, and after that the fault is looked at afresh, as the kernel does
 * when it finds the entry changed under its lock.
 */
export class Fault {
  readonly spaces: Spaces;
  readonly mm: Mm;
  readonly source: PageSource;
  vpn = 0;
  write = false;
  /** Set by an attempt. */
  vma: Vma | undefined;
  pmdAt = -1;
  /** Small pages only: there was no huge page to be had. */
  noHuge = false;
  /** Had to read from disk: counted once (VM_FAULT_MAJOR). */
  major = false;
  /** What to wait for after `retry`; false when it failed for want of memory. */
  after: (() => Waiting<boolean>) | undefined;

  constructor(spaces: Spaces, mm: Mm) {
    this.spaces = spaces;
    this.mm = mm;
    this.source = new PageSource(spaces.supply, mm);
  }

  begin(vpn: number, write: boolean): void {
    this.vpn = vpn;
    this.write = write;
    this.vma = undefined;
    this.noHuge = false;
    this.major = false;
    this.after = undefined;
    this.spaces.vmstat.pgfault++;
  }

  /** Ends an attempt that has to wait until a page is unlocked. */
  retryUnlocked(pfn: number): FaultResult {
    this.after = () => alwaysTrue(this.spaces.waits.untilUnlocked(pfn));
    return FAULT.retry;
  }

  /** migration_entry_wait: the page of the entry is locked while it moves. */
  retryMigrated(entry: number): FaultResult {
    return this.retryUnlocked(migrationPfn(entry));
  }

  /** The attempt has to come behind a task that has the CPU first. */
  retryPreempted(): FaultResult {
    return this.retryAfter(() => alwaysTrue(stepAside()));
  }

  retryAfter(wait: () => Waiting<boolean>): FaultResult {
    this.after = wait;
    return FAULT.retry;
  }
}

/** lru_cache_add_inactive_or_unevictable: a new page that is mapped in `vma`. */
export function addNewToLru(spaces: Spaces, vma: Vma, pfn: number): void {
  if (vma.has(VM_LOCKED)) spaces.lru.mlockNew(pfn);
  else spaces.lru.add(pfn);
}

function* stepAside(): Waiting {
  yield 0;
}

export function* alwaysTrue(wait: Waiting<unknown>): Waiting<boolean> {
  yield* wait;
  return true;
}
