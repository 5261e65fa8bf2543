import type { Waiting } from '../../sched/scheduler.ts';
import type { Mm } from '../space/mm-types.ts';
import { pteIn } from '../space/page-tables.ts';
import {
  isHugePmd,
  isTable,
  makePte,
  PMD_HUGE,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_FLAGS,
  PTE_PRESENT,
  PTE_WRITE,
  ptePfn,
} from '../space/pte.ts';
import type { Spaces } from '../space/spaces.ts';
import { FAULT, Fault, type FaultResult } from './fault.ts';
import { attemptFault, resolveFault } from './handle.ts';

/**
 * How a process reaches memory: through the TLB, else the page tables, else a fault. One per
 * process, whose task alone uses it. `try...` never waits; the generators do where they have to.
 */
export class MemoryAccess {
  readonly #spaces: Spaces;
  readonly #mm: Mm;
  readonly #fault: Fault;
  /** What the last `tryFrame` that returned -1 came to. */
  #result: FaultResult = FAULT.done;

  constructor(spaces: Spaces, mm: Mm) {
    this.#spaces = spaces;
    this.#mm = mm;
    this.#fault = new Fault(spaces, mm);
  }

  /** The frame behind a page for a read or a write, or -1: then `yield* frame(...)` must wait. */
  tryFrame(vpn: number, write: boolean): number {
    const pfn = translate(this.#spaces, this.#mm, vpn, write);
    if (pfn >= 0) return pfn;
    const fault = this.#fault;
    fault.begin(vpn, write);
    this.#result = this.#spaces.isPreempted() ? fault.retryPreempted() : attemptFault(fault);
    if (this.#result !== FAULT.done) return -1;
    fault.source.close();
    return translate(this.#spaces, this.#mm, vpn, write);
  }

  /**
   * Goes on where `tryFrame` for the same page ended with -1. Returns the frame, or -1 less one of
   * FAULT: sigsegv, sigbus or oom.
   */
  *frame(vpn: number, write: boolean): Waiting<number> {
    for (;;) {
      const result = yield* resolveFault(this.#fault, this.#result);
      if (result !== FAULT.done) return -1 - result;
      // What the fault mapped may be gone again: a wait lies between.
      const pfn = this.tryFrame(vpn, write);
      if (pfn >= 0) return pfn;
    }
  }
}

/**
 * What the CPU does for an access: the frame, or -1 where the kernel has to help. Sets the accessed
 * and dirty bits of the entry that maps the page.
 */
function translate(spaces: Spaces, mm: Mm, vpn: number, write: boolean): number {
  const cached = spaces.tlb.lookup(mm, vpn, write);
  if (cached !== 0) return ptePfn(cached);
  const { tables } = spaces;
  const pmdAt = tables.pmdAt(mm.pgdBase, vpn);
  if (pmdAt < 0) return -1;
  const pmd = tables.entries[pmdAt];
  const huge = isHugePmd(pmd);
  if (!huge && !isTable(pmd)) return -1;
  const at = huge ? pmdAt : pteIn(tables.tableBase(pmd), vpn);
  const entry = tables.entries[at];
  if ((entry & PTE_PRESENT) === 0 || (write && (entry & PTE_WRITE) === 0)) return -1;
  const used = entry | (write ? PTE_ACCESSED | PTE_DIRTY : PTE_ACCESSED);
  tables.entries[at] = used;
  const cacheable = huge ? makePte(ptePfn(used) + (vpn & 511), used & PTE_FLAGS & ~PMD_HUGE) : used;
  spaces.tlb.fill(mm, vpn, cacheable);
  return ptePfn(cacheable);
}
