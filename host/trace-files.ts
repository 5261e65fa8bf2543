import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../shared/lib/clock.ts';
import type { Log } from '../shared/lib/log.ts';
import { WireTrace, type WireTraceEvent } from './vmm/wire-trace.ts';

/**
 * A file `ID.wire.jsonl` for each guest with what passes between its driver and its device. Lines
 * are written at once, so that a reader sees what has happened. A file that cannot be opened or
 * written ends that guest's trace, with an error in the log, and nothing else. Impure: files.
 */
export class TraceFiles {
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #open = new Map<string, number>();
  /** Guests whose file was begun by this process; a later machine of that id goes on in it. */
  readonly #begun = new Set<string>();

  /** `directory` exists. */
  constructor(directory: string, clock: Clock, log: Log) {
    this.#directory = directory;
    this.#clock = clock;
    this.#log = log;
  }

  open(guestId: string): WireTrace {
    const path = join(this.#directory, `${guestId}.wire.jsonl`);
    this.#attempt(guestId, () => {
      this.#open.set(guestId, openSync(path, this.#begun.has(guestId) ? 'a' : 'w'));
      this.#begun.add(guestId);
    });
    return new WireTrace(this.#clock, (event) => this.#write(guestId, event));
  }

  close(guestId: string): void {
    const file = this.#open.get(guestId);
    if (file === undefined) return;
    this.#open.delete(guestId);
    closeSync(file);
  }

  #write(guestId: string, event: WireTraceEvent): void {
    const file = this.#open.get(guestId);
    if (file === undefined) return;
    this.#attempt(guestId, () => writeSync(file, `${JSON.stringify(event)}\n`));
  }

  #attempt(guestId: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#log.error({ guest: guestId, error: (error as Error).message }, 'no wire trace');
      this.close(guestId);
    }
  }
}
