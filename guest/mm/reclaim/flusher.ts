import type { Waiting } from '../../sched/scheduler.ts';
import { writeBack } from '../space/page-io.ts';
import type { Spaces } from '../space/spaces.ts';

/**
 * The flusher thread, as far as reclaim asks for it (wakeup_flusher_threads): writes every dirty
 * page of every file back.
 *
 * Not emulated: periodic write-back, dirty limits, one thread a device.
 */
export class Flusher {
  readonly #spaces: Spaces;
  #isRunning = false;

  constructor(spaces: Spaces) {
    this.#spaces = spaces;
  }

  /** Does nothing while it runs. */
  wake(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#spaces.scheduler.spawn('flusher', this.#run());
  }

  *#run(): Waiting {
    for (const mapping of [...this.#spaces.files]) yield* writeBack(this.#spaces, mapping);
    this.#isRunning = false;
  }
}
