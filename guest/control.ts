import { ControlError } from '../shared/control/line-server.ts';
import type { GuestDump, GuestRequest } from '../shared/control/schemas.ts';
import { featureBits, featureName } from '../shared/virtio/features.ts';
import type { Guest } from './guest.ts';
import { join, type Task } from './sched/scheduler.ts';
import { programSchema } from './workload/programs.ts';

/** Everything the control channel's `dump` tells of a guest; `pfns` adds the balloon list. */
export function dumpGuest(guest: Guest, withPfns: boolean): GuestDump {
  const { balloon, core, device, processes, scheduler, statistics } = guest.kernel;
  const { book } = balloon;
  return {
    id: guest.id,
    power: guest.power,
    connection: guest.connectionState,
    driver: core.state,
    status: device.status,
    features: featureBits(device.negotiated).map(featureName).join(' '),
    numPages: balloon.numPages,
    targetPages: balloon.targetPages,
    listPages: book?.length ?? 0,
    isolatedPages: book?.isolatedPages ?? 0,
    hintedPages: balloon.hintedPages,
    buffersInFlight: device.inFlight,
    resizing: balloon.resizing,
    canariesWrong: processes.canariesWrong,
    statistics: statistics.values(),
    processes: processes.list().map(({ pid, name, residentPages }) => {
      return { pid, name, pages: residentPages };
    }),
    tasks: [...scheduler.tasks()],
    ...(withPfns ? { pfns: [...(book?.pfns() ?? [])] } : {}),
  };
}

/**
 * Answers the guest verbs of the control channel for the guests of one process. A verb without a
 * guest id means the only guest. Driver verbs are answered when their work is done.
 */
export class GuestControl {
  readonly #guests: ReadonlyMap<string, Guest>;

  constructor(guests: ReadonlyMap<string, Guest>) {
    this.#guests = guests;
  }

  handle(request: GuestRequest): unknown {
    const guest = this.#find(request.guest);
    if (request.verb === 'dump') return dumpGuest(guest, request.pfns);
    if (guest.power === 'off') throw new ControlError(`guest ${guest.id} is off`);
    switch (request.verb) {
      case 'run': {
        const program = programSchema.parse(request.program);
        guest.run(program);
        return { started: program.name };
      }
      default:
        return finished(guest, guest.verb(request.verb)).then(() => ({
          driver: guest.kernel.core.state,
        }));
    }
  }

  #find(id: string | undefined): Guest {
    if (id === undefined && this.#guests.size > 1) {
      throw new ControlError(`this process runs ${this.#guests.size} guests; name one: guest`);
    }
    const guest = id === undefined ? [...this.#guests.values()][0] : this.#guests.get(id);
    if (guest !== undefined) return guest;
    const known = [...this.#guests.keys()].slice(0, 10).join(', ');
    throw new ControlError(`no guest '${id}'; there is ${known}`);
  }
}

/** Resolves when the task has ended, or when the guest has come to its end. */
function finished(guest: Guest, task: Task): Promise<void> {
  const { scheduler } = guest.kernel;
  return new Promise((resolve) => {
    void guest.ended.then(() => resolve());
    scheduler.spawn(
      `${task.name} answered`,
      (function* () {
        yield* join(task);
        resolve();
      })(),
    );
    scheduler.run();
  });
}
