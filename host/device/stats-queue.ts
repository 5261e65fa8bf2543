import type { Clock } from '../../shared/lib/clock.ts';
import type { GuestStats } from '../vmm/machine.ts';
import { GuestStatistics } from './statistics.ts';
import { type PollerEffects, StatsPoller } from './stats-poller.ts';
import type { Checks } from './violations.ts';

/** Whether the device may send `used` now, and how it returns a buffer of this queue. */
export interface StatsQueuePort {
  readonly mayReturn: () => boolean;
  readonly giveBack: (id: number) => void;
}

export interface StatsQueueOptions {
  /** The machine's clock. */
  readonly clock: Clock;
  readonly checks: Checks;
  readonly port: StatsQueuePort;
}

/**
 * The statistics queue: the device keeps the driver's newest buffer and returns it when it wants
 * new values (D4). A second buffer while one is kept returns the older one (N25).
 */
export class StatsQueue implements PollerEffects {
  readonly #checks: Checks;
  readonly #port: StatsQueuePort;
  readonly #statistics: GuestStatistics;
  readonly #poller: StatsPoller;
  /** The buffer kept, or -1. */
  #held = -1;

  constructor({ clock, checks, port }: StatsQueueOptions) {
    this.#checks = checks;
    this.#port = port;
    this.#statistics = new GuestStatistics(clock, checks);
    this.#poller = new StatsPoller(clock, this);
  }

  get stats(): GuestStats {
    return this.#statistics.current;
  }

  get intervalSeconds(): number {
    return this.#poller.intervalSeconds;
  }

  setInterval(seconds: number): void {
    this.#poller.setInterval(seconds);
  }

  /** Takes and keeps a buffer; does nothing more when the policy refuses it. */
  take(id: number, readable: Uint8Array): void {
    if (this.#held >= 0) {
      if (this.#checks.violated('stats-second-buffer')) return;
      this.#returnHeld();
    }
    if (!this.#statistics.take(readable)) return;
    this.#held = id;
    this.#poller.answered();
  }

  /** For the poller: whether there is a buffer to return and the device may return it. */
  mayAsk(): boolean {
    return this.#held >= 0 && this.#port.mayReturn();
  }

  /** For the poller: returns the buffer, which asks the driver for a new one. */
  ask(): void {
    this.#returnHeld();
  }

  /** Device reset: the buffer is gone, the values and the timer stay, as in QEMU. */
  reset(): void {
    this.#held = -1;
    this.#statistics.newSession();
  }

  stop(): void {
    this.#poller.stop();
  }

  #returnHeld(): void {
    const id = this.#held;
    this.#held = -1;
    this.#port.giveBack(id);
  }
}
