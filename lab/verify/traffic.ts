import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import type { QueueName } from '../../shared/virtio/balloon.ts';
import type { WireEvent } from './wire-lines.ts';

/**
 * What passed on the wire with its time and direction, for the checks of single features. Times
 * are milliseconds on the recording's timeline.
 */
export type Traffic =
  | {
      readonly kind: 'buffer';
      readonly timeMs: number;
      readonly queue: QueueName;
      /** It has a device-readable part. */
      readonly readable: boolean;
      /** Device-writable ranges. */
      readonly ranges: number;
      readonly pfnCount: number;
    }
  /** The driver wrote `actual`. */
  | { readonly kind: 'actual'; readonly timeMs: number; readonly pages: number }
  /** The host wants `pages` in the balloon. */
  | { readonly kind: 'target'; readonly timeMs: number; readonly pages: number };

/** The traffic of a recording. */
export function recordedTraffic(wire: readonly WireEvent[]): Traffic[] {
  return wire.flatMap((event): Traffic[] => {
    const { tMs: timeMs } = event;
    switch (event.ev) {
      case 'buf':
        return [buffer(timeMs, event)];
      case 'config-set':
        return [{ kind: 'actual', timeMs, pages: event.actual }];
      case 'target':
        return [{ kind: 'target', timeMs, pages: event.num_pages }];
      default:
        return [];
    }
  });
}

/** The traffic of Puff's own wire. */
export function tracedTraffic(events: readonly WireTraceEvent[]): Traffic[] {
  return events.flatMap((event): Traffic[] => {
    const timeMs = event.t / 1000;
    switch (event.ev) {
      case 'buf':
        return [buffer(timeMs, event)];
      case 'config-set':
        return [{ kind: 'actual', timeMs, pages: event.actual }];
      case 'target':
        return [{ kind: 'target', timeMs, pages: event.num_pages }];
      default:
        return [];
    }
  });
}

interface TakenBuffer {
  readonly queue: QueueName;
  readonly outn: number;
  readonly inn: number;
  readonly n: number;
}

function buffer(timeMs: number, { queue, outn, inn, n }: TakenBuffer): Traffic {
  const holdsPfns = queue === 'inflate' || queue === 'deflate';
  const pfnCount = holdsPfns ? n : 0;
  return { kind: 'buffer', timeMs, queue, readable: outn > 0, ranges: inn, pfnCount };
}
