import { Counters } from '../../../shared/lib/counters.ts';

/** Clients that were served, then what was refused, each limit under its name. */
const NAMES = [
  'clients',
  'MAX_QMP_WAITING',
  'MAX_QMP_OUTPUT_BYTES',
  'MAX_QMP_REQUEST_BYTES',
  'MAX_QMP_NESTING',
  'QMP_CLOSE_TIMEOUT_MS',
  'socket-errors',
] as const;
export type QmpCounter = (typeof NAMES)[number];

/** One set for all QMP sockets of a host: they come and go with their guests. */
export function qmpCounters(): Counters<QmpCounter> {
  return new Counters(NAMES);
}
