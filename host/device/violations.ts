import type { Counters } from '../../shared/lib/counters.ts';
import type { ConfigViolation } from '../../shared/virtio/config-space.ts';
import type { StatusViolation } from '../../shared/virtio/device-status.ts';

/**
 * What a driver can do wrong, each with a name, the clause it breaks and what a tolerant device
 * makes of it. Tolerated or not, it is counted under its name. Refused, the device sets
 * DEVICE_NEEDS_RESET (G06) and processes nothing more until it is reset.
 *
 * Not here: breaches of the wire protocol itself (`shared/protocol/errors.ts`), which end the link.
 */
interface ViolationRow {
  readonly clause: string;
  readonly tolerated: string;
}

const STATUS = {
  'unknown-status-bit': { clause: 'G01', tolerated: 'the bit is left out' },
  'suspend-not-offered': { clause: 'G39', tolerated: 'the bit is left out (G45)' },
  'device-status-bit': { clause: 'G06', tolerated: 'the bit is left out' },
  'after-failed': { clause: 'G03', tolerated: 'stored, FAILED stays set' },
  'cleared-bit': { clause: 'G02', tolerated: 'stored as written' },
  'skipped-step': { clause: 'G29', tolerated: 'stored as written' },
} as const satisfies Record<StatusViolation, ViolationRow>;

const CONFIG = {
  'config-past-end': { clause: 'G25', tolerated: 'ignored' },
  'config-partial': { clause: 'N23', tolerated: 'ignored' },
  'config-several-fields': { clause: 'G23', tolerated: 'ignored' },
  'config-device-field': { clause: 'X5', tolerated: 'ignored' },
  'config-not-negotiated': { clause: 'G25', tolerated: 'ignored' },
  'config-wrong-status': { clause: 'G30', tolerated: 'ignored' },
  'config-after-driver-ok': { clause: 'N56', tolerated: 'ignored' },
} as const satisfies Record<ConfigViolation, ViolationRow>;

export const VIOLATIONS = {
  ...STATUS,
  ...CONFIG,
  'features-wrong-status': { clause: 'G31', tolerated: 'ignored once FEATURES_OK is set' },
  'queue-bad-size': { clause: 'G83', tolerated: 'the queue stays disabled' },
  'queue-enabled-twice': { clause: 'G83', tolerated: 'ignored' },
  'queue-wrong-status': { clause: 'G29', tolerated: 'enabled all the same' },
  'buffer-before-driver-ok': { clause: 'G34', tolerated: 'taken at once, as QEMU does' },
  'buffer-wrong-direction': { clause: '2.4', tolerated: 'that part is ignored' },
  'chain-too-long': { clause: 'G58', tolerated: 'taken' },
  'pfn-list-empty': { clause: 'D2', tolerated: 'returned' },
  'pfn-list-cut': { clause: 'D2', tolerated: 'the bytes after the last whole PFN are ignored' },
  MAX_BUFFER_PFNS: { clause: 'D2', tolerated: 'taken' },
  'pfn-out-of-ram': { clause: 'D2', tolerated: 'skipped (virtio_balloon_bad_addr)' },
  'inflated-twice': { clause: 'H1', tolerated: 'discarded once more' },
  'deflated-without-inflation': { clause: 'H1', tolerated: 'nothing to do' },
  'stats-second-buffer': { clause: 'N25', tolerated: 'the older one is returned' },
  'stats-cut': { clause: 'N29', tolerated: 'the bytes after the last whole entry are ignored' },
  'stats-repeated-tag': { clause: 'N28', tolerated: 'the last value counts' },
  'stats-other-subset': { clause: 'N32', tolerated: 'taken; absent values become undefined' },
  MAX_STATS_ENTRIES: { clause: 'N28', tolerated: 'the entries beyond are ignored' },
  'hint-command-size': { clause: 'N37', tolerated: 'ignored' },
  'hint-id-repeated': { clause: 'N39', tolerated: 'the round is over, as with STOP' },
  'hint-unaligned': { clause: '2.4', tolerated: 'that range is left alone' },
  'hint-out-of-ram': { clause: '2.4', tolerated: 'that range is left alone' },
  'report-unaligned': { clause: '2.4', tolerated: 'that range is left alone' },
  'report-out-of-ram': { clause: '2.4', tolerated: 'that range is left alone' },
  'report-in-balloon': { clause: 'N58', tolerated: 'discarded once more' },
  MAX_REPORT_PAGES: { clause: 'N64', tolerated: 'the ranges beyond are left alone' },
} as const satisfies Record<string, ViolationRow>;
export type Violation = keyof typeof VIOLATIONS;
export const VIOLATION_NAMES = Object.keys(VIOLATIONS) as Violation[];

/** Why FEATURES_OK was left clear (G15); no policy applies, this is the refusal itself. */
export const NEGOTIATION_REFUSALS = [
  'feature-not-offered',
  'version-1-not-accepted',
  'queue-layout-disagrees',
] as const;
export type NegotiationRefusal = (typeof NEGOTIATION_REFUSALS)[number];

export type ViolationPolicy = Readonly<Record<Violation, 'tolerate' | 'refuse'>>;

const uniform = (policy: 'tolerate' | 'refuse'): ViolationPolicy =>
  Object.fromEntries(VIOLATION_NAMES.map((name) => [name, policy])) as ViolationPolicy;

/** As QEMU: only a hint command of the wrong size is a device error there ("incorrect cmd id"). */
export const QEMU_POLICY: ViolationPolicy = {
  ...uniform('tolerate'),
  'hint-command-size': 'refuse',
};

/**
 * Refuses everything. Linux' own driver does not pass it: it kicks the statistics queue before
 * DRIVER_OK, so a policy for it tolerates 'buffer-before-driver-ok'.
 */
export const STRICT_POLICY: ViolationPolicy = uniform('refuse');

/** What a policy makes of a violation, and the count of each. */
export class Checks {
  readonly #policy: ViolationPolicy;
  readonly #counters: Counters<Violation>;
  readonly #refuse: (violation: Violation) => void;

  /** `refuse` breaks the device; it is called after counting. */
  constructor(
    policy: ViolationPolicy,
    counters: Counters<Violation>,
    refuse: (violation: Violation) => void,
  ) {
    this.#policy = policy;
    this.#counters = counters;
    this.#refuse = refuse;
  }

  /** Counts `amount` cases. Returns true when the policy refuses them: the caller stops there. */
  violated(violation: Violation, amount = 1): boolean {
    this.#counters.add(violation, amount);
    if (this.#policy[violation] === 'tolerate') return false;
    this.#refuse(violation);
    return true;
  }

  /** The same for something that may have happened 0 times. */
  violatedBy(violation: Violation, amount: number): boolean {
    return amount > 0 && this.violated(violation, amount);
  }
}
