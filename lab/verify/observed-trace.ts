import type { WireTraceEvent } from '../../host/vmm/wire-trace.ts';
import { tracedTraffic } from './traffic.ts';
import type { BufferItem, Observed } from './types.ts';

/** The part of `Observed` that a wire trace holds: all but QMP. */
export type ObservedWire = Omit<Observed, 'qmp' | 'negotiation'>;

/** Reads a trace of Puff's wire the way the expectations were read from a recording's. */
export function observeTrace(events: readonly WireTraceEvent[]): ObservedWire {
  let features = 0n;
  const status: number[] = [];
  const buffers: BufferItem[] = [];
  const config: number[] = [];
  const taken = new Map<string, number>();
  for (const event of events) {
    switch (event.ev) {
      case 'features':
        features = BigInt(`0b${[...event.bits].reverse().join('')}`);
        break;
      case 'status':
        status.push(event.val);
        break;
      case 'config-set':
        config.push(event.actual);
        break;
      case 'buf':
        taken.set(`${event.queue} ${event.id}`, buffers.length);
        buffers.push({ queue: event.queue, count: event.n, length: null });
        break;
      case 'used': {
        const index = taken.get(`${event.queue} ${event.id}`);
        if (index !== undefined) buffers[index] = { ...buffers[index], length: event.len };
        break;
      }
      case 'target':
        break;
    }
  }
  return { features, status, buffers, config, traffic: tracedTraffic(events) };
}
