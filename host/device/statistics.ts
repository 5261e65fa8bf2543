import type { Clock } from '../../shared/lib/clock.ts';
import { STATS_TAGS } from '../../shared/virtio/balloon.ts';
import { decodeStats } from '../../shared/virtio/stats.ts';
import type { GuestStats } from '../vmm/machine.ts';
import type { Checks } from './violations.ts';

/**
 * What the guest said of itself last. Values of unknown tags are ignored (N33); how many of the
 * known ones are shown is the control interface's choice.
 */
export class GuestStatistics {
  readonly #clock: Clock;
  readonly #checks: Checks;
  /** Tags of the session's first buffer, one bit each; undefined before it. */
  #subset: number | undefined;
  #current: GuestStats = { values: {}, lastUpdateSeconds: 0 };

  constructor(clock: Clock, checks: Checks) {
    this.#clock = clock;
    this.#checks = checks;
  }

  get current(): GuestStats {
    return this.#current;
  }

  /** Takes a buffer; false when the policy refuses it. A tag it lacks becomes undefined. */
  take(bytes: Uint8Array): boolean {
    const decoded = decodeStats(bytes);
    const subset = tagBits(decoded.values);
    const refused = [
      this.#checks.violatedBy('stats-cut', Number(decoded.trailingBytes > 0)),
      this.#checks.violatedBy('stats-repeated-tag', decoded.duplicateCount),
      this.#checks.violatedBy('MAX_STATS_ENTRIES', decoded.excessCount),
      this.#checks.violatedBy('stats-other-subset', Number(subset !== (this.#subset ?? subset))),
    ];
    if (refused.includes(true)) return false;
    this.#subset ??= subset;
    const lastUpdateSeconds = Math.floor(this.#clock.wallMs() / 1000);
    this.#current = { values: decoded.values, lastUpdateSeconds };
    return true;
  }

  /** Device reset: a new session may supply another subset (N32). Values stay, as in QEMU 7.2. */
  newSession(): void {
    this.#subset = undefined;
  }
}

function tagBits(values: GuestStats['values']): number {
  return STATS_TAGS.reduce((bits, tag, index) => bits | (tag in values ? 1 << index : 0), 0);
}
