import type { Waiting } from '../../sched/scheduler.ts';

/** Frees what it can and returns the number of pages; may wait. */
export type OomNotifier = () => Waiting<number>;

/**
 * The chain that out_of_memory() asks before it kills: register_oom_notifier with priorities, the
 * highest first.
 */
export class OomNotifierChain {
  readonly #notifiers: { readonly priority: number; readonly notify: OomNotifier }[] = [];

  /** Returns the function that unregisters. */
  register(priority: number, notify: OomNotifier): () => void {
    const entry = { priority, notify };
    const before = this.#notifiers.findIndex((other) => other.priority < priority);
    this.#notifiers.splice(before < 0 ? this.#notifiers.length : before, 0, entry);
    return () => {
      const index = this.#notifiers.indexOf(entry);
      if (index >= 0) this.#notifiers.splice(index, 1);
    };
  }

  /** Calls every notifier in order; returns the pages they freed together. */
  *call(): Waiting<number> {
    let freed = 0;
    for (const { notify } of [...this.#notifiers]) freed += yield* notify();
    return freed;
  }
}
