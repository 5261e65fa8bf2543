import { type ControlCounter, ControlError } from '../../shared/control/line-server.ts';
import type { HostGuestSummary, HostRequest } from '../../shared/control/schemas.ts';
import type { Counters } from '../../shared/lib/counters.ts';
import { MAX_TICKETS, TICKET_VALID_MS } from '../../shared/limits.ts';
import type { Tickets } from '../../shared/transport/credentials.ts';
import type { TransportCounter } from '../../shared/transport/transport-counters.ts';
import type { Vmm } from '../vmm/vmm.ts';
import type { QmpCounter } from './qmp/qmp-counters.ts';

/** What of a host the control channel shows and drives. */
export interface ControlledHost {
  readonly vmm: Vmm;
  readonly transportCounters: Counters<TransportCounter>;
  readonly qmpCounters: Counters<QmpCounter>;
  /** Of the control channel itself. */
  readonly controlCounters?: Counters<ControlCounter>;
  /** Undefined where the host wants no token. */
  readonly tickets?: Tickets | undefined;
  /** What `list` shows: guests and where their QMP is. */
  list(): HostGuestSummary[];
  /** What GET /health of the guests' port answers. */
  health(): object;
}

/** Answers the host verbs of the control channel. Errors of the caller become its answer. */
export function answerHostRequest(host: ControlledHost, request: HostRequest): unknown {
  const { vmm } = host;
  switch (request.verb) {
    case 'list':
      return host.list();
    case 'counters':
      return {
        transport: host.transportCounters.snapshot(),
        qmp: host.qmpCounters.snapshot(),
        vmm: vmm.counters.snapshot(),
        ...(host.controlCounters && { control: host.controlCounters.snapshot() }),
      };
    case 'health':
      return host.health();
    case 'balloon':
      vmm.balloon(request.guest, request.bytes);
      return host.list().find((summary) => summary.id === request.guest);
    case 'stats':
      return statsOf(vmm, request.guest);
    case 'ledger':
      return vmm.ledger(request.guest, request.pfns);
    case 'hint':
      return vmm.hint(request.guest, request.action);
    case 'cut':
      vmm.cut(request.guest);
      return { cut: request.guest };
    case 'ticket':
      return newTicket(host);
  }
}

/** A ticket is shown here and nowhere else; whoever has it may connect once. */
function newTicket({ tickets }: ControlledHost): unknown {
  if (tickets === undefined) {
    throw new ControlError('this host wants no token: whoever reaches its port may connect');
  }
  const ticket = tickets.issue();
  if (ticket === undefined) {
    const seconds = TICKET_VALID_MS / 1000;
    throw new ControlError(`MAX_TICKETS: ${MAX_TICKETS} of the last ${seconds} s are not used yet`);
  }
  return { ticket, validMs: TICKET_VALID_MS };
}

/** Values as decimal strings: a statistic may be larger than JSON numbers are exact. */
function statsOf(vmm: Vmm, id: string): unknown {
  const { values, lastUpdateSeconds } = vmm.stats(id);
  const texts = Object.entries(values).map(([tag, value]) => [tag, String(value)]);
  return { lastUpdateSeconds, values: Object.fromEntries(texts) };
}
