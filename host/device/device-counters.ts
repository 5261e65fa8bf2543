import { Counters } from '../../shared/lib/counters.ts';
import {
  NEGOTIATION_REFUSALS,
  type NegotiationRefusal,
  VIOLATION_NAMES,
  type Violation,
} from './violations.ts';

const TRAFFIC = [
  'inflate_buffers',
  'deflate_buffers',
  'stats_buffers',
  'free_page_buffers',
  'reporting_buffers',
  'inflated_pages',
  'deflated_pages',
  'discarded_pages',
  'reported_pages',
  /** Pages that were in the balloon when the device was reset or the guest powered off. */
  'emptied_pages',
  /** Rounds of hinting the driver took up, commands it sent, pages newly marked as hinted. */
  'hint_rounds',
  'hint_commands',
  'hinted_pages',
  /** Hinted blocks returned unused because no round is under way (N49). */
  'ignored_hints',
  /** Reports left alone because `poison_val` is not zero (N65). */
  'poisoned_reports',
  /** Buffers that came while the device waits for its reset. */
  'ignored_buffers',
  'config_interrupts',
  'resets',
  'needs_reset',
  /** Messages to a device while none was plugged. */
  'no_device_messages',
  /** A device was given back where it cannot be unplugged, or when there was none. */
  'refused_unplugs',
] as const;

export type DeviceCounter = (typeof TRAFFIC)[number] | NegotiationRefusal | Violation;

const NAMES: readonly DeviceCounter[] = [...TRAFFIC, ...NEGOTIATION_REFUSALS, ...VIOLATION_NAMES];

/** Counters of one machine's balloon device; they go on when the guest powers on again. */
export function deviceCounters(): Counters<DeviceCounter> {
  return new Counters(NAMES);
}
