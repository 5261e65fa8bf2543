import type { Waiting } from '../../sched/scheduler.ts';
import { VM_WRITE, type Vma } from '../space/mm-types.ts';
import {
  isHugePmd,
  isMigrationEntry,
  isPresent,
  isSwapEntry,
  isTable,
  PTE_ACCESSED,
  PTE_DIRTY,
  PTE_WRITE,
} from '../space/pte.ts';
import { pmdAlloc } from '../space/table-pages.ts';
import { anonymousFault, ptePosition } from './anonymous.ts';
import { writeProtectFault } from './copy-on-write.ts';
import { FAULT, type Fault, type FaultResult } from './fault.ts';
import { fileFault } from './file-fault.ts';
import { fallBack, hugeFault, hugeWriteProtectFault, wantsHuge } from './huge-fault.ts';

/**
 * What the kernel does when the CPU finds no translation for an access: handle_mm_fault of Linux
 * 6.1, as attempts that do not wait and a loop around them that does.
 *
 * Not emulated: stack growth, NUMA hinting faults, userfaultfd, device memory.
 */

/** One attempt at a fault that has begun. */
export function attemptFault(fault: Fault): FaultResult {
  const { spaces, mm, vpn, source } = fault;
  const vma = mm.vmas.find(vpn);
  if (vma === undefined || (fault.write && !vma.has(VM_WRITE))) return FAULT.sigsegv;
  fault.vma = vma;
  fault.pmdAt = pmdAlloc(spaces, mm, vpn, source);
  if (fault.pmdAt < 0) return FAULT.noPage;
  const huge = attemptHuge(fault, vma);
  return huge === FAULT.fallback ? attemptPte(fault, vma) : huge;
}

/** The part of __handle_mm_fault for PMDs; `fallback` sends it on to PTEs. */
function attemptHuge(fault: Fault, vma: Vma): FaultResult {
  const { entries } = fault.spaces.tables;
  const pmd = entries[fault.pmdAt];
  if (pmd === 0) return wantsHuge(fault, vma) ? hugeFault(fault, vma) : FAULT.fallback;
  if (isTable(pmd)) return FAULT.fallback;
  if (isMigrationEntry(pmd)) return fault.retryMigrated(pmd);
  if (fault.write && isHugePmd(pmd) && (pmd & PTE_WRITE) === 0) {
    return hugeWriteProtectFault(fault, vma);
  }
  entries[fault.pmdAt] |= fault.write ? PTE_ACCESSED | PTE_DIRTY : PTE_ACCESSED;
  return FAULT.done;
}

/** handle_pte_fault. */
function attemptPte(fault: Fault, vma: Vma): FaultResult {
  const { spaces, mm, vpn, write } = fault;
  const { entries } = spaces.tables;
  const at = isTable(entries[fault.pmdAt]) ? ptePosition(fault) : -1;
  const entry = at < 0 ? 0 : entries[at];
  if (entry === 0) {
    return vma.file === undefined ? anonymousFault(fault, vma) : fileFault(fault, vma, vma.file);
  }
  if (isMigrationEntry(entry)) return fault.retryMigrated(entry);
  const { swap } = spaces;
  if (isSwapEntry(entry) && swap !== undefined) {
    return fault.retryAfter(() => swap.swapIn({ mm, vma, vpn, write, at }));
  }
  if (write && isPresent(entry) && (entry & PTE_WRITE) === 0) return writeProtectFault(fault, vma);
  entries[at] |= write ? PTE_ACCESSED | PTE_DIRTY : PTE_ACCESSED;
  return FAULT.done;
}

/** Goes on with a fault whose first attempt came to `result`, until it is resolved or hopeless. */
export function* resolveFault(fault: Fault, result: FaultResult): Waiting<FaultResult> {
  let outcome = result;
  while (outcome === FAULT.noPage || outcome === FAULT.retry) {
    const ready = outcome === FAULT.noPage ? yield* fetchPage(fault) : yield* waitAfter(fault);
    outcome = ready ? attemptFault(fault) : FAULT.oom;
  }
  fault.source.close();
  return outcome;
}

/** False when there is no memory even for a small page. */
function* fetchPage(fault: Fault): Waiting<boolean> {
  if (yield* fault.source.fetch()) return true;
  if (fault.source.wantedOrder === 0) return false;
  fallBack(fault);
  return true;
}

function* waitAfter(fault: Fault): Waiting<boolean> {
  const { after } = fault;
  fault.after = undefined;
  return after === undefined ? true : yield* after();
}
