import { setTimeout as sleep } from 'node:timers/promises';
import { connectQmp, type QmpClient, QmpConnectionError } from '../../lab/qmp-client.ts';
import type { Prng } from '../../shared/lib/prng.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';

export interface ControllerOptions {
  readonly qmpPath: string;
  readonly prng: Prng;
  readonly leastBytes: number;
  readonly mostBytes: number;
  /** Longest wait between two targets. */
  readonly pauseMs: number;
}

/**
 * A controller of one guest that sets one random target after the other over QMP, and connects
 * again when the host was away. It remembers what a host must not forget: the last target that was
 * acknowledged, and those sent since, of which it cannot know.
 */
export class Controller {
  acknowledged = 0;
  reconnects = 0;
  readonly #options: ControllerOptions;
  /** Bytes, whole pages. The first is the acknowledged one. */
  #possible: number[];
  #client: Promise<QmpClient> | undefined;
  #stopping = false;
  #ended = false;
  #running: Promise<void> | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.#possible = [options.mostBytes];
  }

  /** Targets of which any may be the guest's now. */
  get possibleTargets(): readonly number[] {
    return this.#possible;
  }

  /** Retargets until `pause`. */
  run(): void {
    this.#stopping = false;
    this.#running = this.#loop();
  }

  /** Resolves when no command is under way. */
  async pause(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  /** Gives up what is under way; resolves when nothing of it is left. */
  async end(): Promise<void> {
    this.#ended = true;
    const closing = this.#client?.then((client) => client.close());
    await Promise.allSettled([closing, this.pause()]);
  }

  /**
   * One command; connects first where that is needed, again and again. Rejects with QmpError, or
   * with QmpConnectionError once this controller was ended.
   */
  async execute(command: string, args: Record<string, string | number>): Promise<unknown> {
    for (;;) {
      // One connection for all that is under way: a monitor serves one client at a time.
      this.#client ??= connectQmp(this.#options.qmpPath);
      const client = this.#client;
      try {
        return await (await client).execute(command, args);
      } catch (error) {
        if (!(error instanceof QmpConnectionError) || this.#ended) throw error;
        await sleep(20);
        if (this.#client !== client) continue;
        this.#client = undefined;
        this.reconnects++;
      }
    }
  }

  async #loop(): Promise<void> {
    const { prng, leastBytes, mostBytes, pauseMs } = this.#options;
    while (!this.#stopping) {
      const pages = prng.below((mostBytes - leastBytes) / PAGE_SIZE + 1);
      const value = leastBytes + pages * PAGE_SIZE;
      this.#possible.push(value);
      await this.execute('balloon', { value });
      this.#possible = [value];
      this.acknowledged++;
      await sleep(prng.below(pauseMs + 1));
    }
  }
}
