import { assert } from '../../../shared/lib/assert.ts';
import { MAX_MAPPING_ID } from './frames.ts';
import { AnonVma, type Vma } from './mm-types.ts';

/**
 * All owners of anonymous pages, by the id that pages carry, and how VMAs are linked to them.
 *
 * Not emulated: reuse of an ancestor's anon_vma by long chains of forks, the interval tree (a walk
 * looks at all linked VMAs), the lock (one CPU, no wait inside).
 */
export class AnonVmas {
  readonly #byId = new Map<number, AnonVma>();
  #lastId = 0;

  get count(): number {
    return this.#byId.size;
  }

  /** Undefined when no VMA can map pages of this owner any more. */
  get(id: number): AnonVma | undefined {
    return this.#byId.get(id);
  }

  /** anon_vma_prepare: gives the VMA an owner for its pages. */
  prepare(vma: Vma): void {
    if (vma.anonVma !== undefined) return;
    assert(this.#lastId < MAX_MAPPING_ID, 'a guest makes fewer anon_vmas than there are ids');
    const anonVma = new AnonVma(++this.#lastId);
    this.#byId.set(anonVma.id, anonVma);
    vma.anonVma = anonVma;
    link(vma, anonVma);
  }

  /** anon_vma_clone: for a VMA split from `from`, or one that takes over its pages. */
  clone(from: Vma, to: Vma): void {
    for (const anonVma of from.anonVmas) link(to, anonVma);
    to.anonVma ??= from.anonVma;
  }

  /** anon_vma_fork: the child's VMA may map all of its parent's pages, its new ones are its own. */
  fork(parent: Vma, child: Vma): void {
    if (parent.anonVma === undefined) return;
    for (const anonVma of parent.anonVmas) link(child, anonVma);
    this.prepare(child);
  }

  /** unlink_anon_vmas: the VMA goes; an owner without VMAs goes with it. */
  unlink(vma: Vma): void {
    for (const anonVma of vma.anonVmas) {
      anonVma.vmas.delete(vma);
      if (anonVma.vmas.size === 0) this.#byId.delete(anonVma.id);
    }
    vma.anonVmas.clear();
    vma.anonVma = undefined;
  }
}

function link(vma: Vma, anonVma: AnonVma): void {
  vma.anonVmas.add(anonVma);
  anonVma.vmas.add(vma);
}
