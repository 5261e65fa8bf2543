import { assert } from '../../shared/lib/assert.ts';
import { type Scheduler, type Waiting, WaitQueue } from './scheduler.ts';

/** A sleeping lock, fair in the order of arrival, as struct mutex is to its users. */
export class Mutex {
  readonly #scheduler: Scheduler;
  readonly #queue: WaitQueue;
  #held = false;

  constructor(scheduler: Scheduler, name: string) {
    this.#scheduler = scheduler;
    this.#queue = new WaitQueue(name);
  }

  get held(): boolean {
    return this.#held;
  }

  *lock(): Waiting {
    while (this.#held) yield this.#queue;
    this.#held = true;
  }

  tryLock(): boolean {
    if (this.#held) return false;
    this.#held = true;
    return true;
  }

  unlock(): void {
    assert(this.#held, 'a mutex is unlocked by its holder');
    this.#held = false;
    this.#scheduler.wake(this.#queue);
  }
}
