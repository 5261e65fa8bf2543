import { ControlError } from '../shared/control/line-server.ts';
import type {
  BalloonDump,
  CompactionSummary,
  GuestDump,
  GuestRequest,
  HugePageSize,
} from '../shared/control/schemas.ts';
import { featureBits, featureName } from '../shared/virtio/features.ts';
import type { DriverVerb } from './drivers/driver-core.ts';
import type { Guest } from './guest.ts';
import type { GuestBalloon } from './guest-balloon.ts';
import { MAX_ORDER, PAGEBLOCK_ORDER } from './mm/page/page-map.ts';
import { countPages } from './page-kinds.ts';
import { join, type Task } from './sched/scheduler.ts';
import { programSchema } from './workload/programs.ts';

/**
 * Everything the control channel's `dump` tells of a guest, as seen from the balloon device named,
 * the first if none is; `withPfns` adds the balloon lists. Throws ControlError for no device.
 */
export function dumpGuest(guest: Guest, withPfns: boolean, device?: string): GuestDump {
  const { balloons: devices, processes, scheduler, statistics } = guest.kernel;
  const { compaction, giganticPagePool, hugePagePool, memory, reclaim } = guest.kernel;
  const shown = devices.list.indexOf(findBalloon(guest, device));
  const states = guest.connectionStates;
  const balloons = devices.list.map((one, index) => dumpBalloon(one, states[index], withPfns));
  return {
    ...balloons[shown],
    id: guest.id,
    power: guest.power,
    balloons,
    freeBlocks: freeBlocks(guest),
    hugePages: hugePagePool.count,
    hugePages1G: giganticPagePool.count,
    swap: { pages: reclaim.swap?.totalPages ?? 0, freePages: reclaim.swap?.freePages ?? 0 },
    compaction: { ...memory.balloons.vmstat(), ...compaction.events },
    canariesWrong: processes.canariesWrong,
    statistics: statistics.values(),
    processes: processes.list().map(({ pid, name, residentPages }) => {
      return { pid, name, pages: residentPages };
    }),
    tasks: [...scheduler.tasks()],
  };
}

function dumpBalloon(balloon: GuestBalloon, connection: string, withPfns: boolean): BalloonDump {
  const { id, core, device, driver, refused } = balloon;
  const { book } = driver;
  return {
    id,
    connection,
    driver: core.state,
    status: device.status,
    features: featureBits(device.negotiated).map(featureName).join(' '),
    numPages: driver.numPages,
    targetPages: driver.targetPages,
    listPages: book?.length ?? 0,
    isolatedPages: book?.isolatedPages ?? 0,
    hintedPages: driver.hintedPages,
    buffersInFlight: device.inFlight,
    resizing: driver.resizing,
    refused: refused.snapshot(),
    ...(withPfns ? { pfns: [...(book?.pfns() ?? [])] } : {}),
  };
}

/** The balloon device of this id, the first where none is named. */
function findBalloon(guest: Guest, id: string | undefined): GuestBalloon {
  const { balloons } = guest.kernel;
  const balloon = balloons.find(id);
  if (balloon !== undefined) return balloon;
  const known = balloons.list.map((one) => one.id).join(', ');
  throw new ControlError(`guest ${guest.id} has no balloon device '${id}'; there is ${known}`);
}

/** Free blocks by order, as /proc/buddyinfo but of all zones. */
function freeBlocks(guest: Guest): number[] {
  const { zones } = guest.kernel.memory.allocator;
  return Array.from({ length: MAX_ORDER }, (_, order) => {
    return zones.reduce((sum, zone) => sum + zone.nrFree[order], 0);
  });
}

function freeHugePages(guest: Guest): number {
  const large = freeBlocks(guest).slice(PAGEBLOCK_ORDER);
  return large.reduce((sum, blocks, above) => sum + (blocks << above), 0);
}

/** compact_memory, and what the counters have become by its end. */
async function compactMemory(guest: Guest): Promise<CompactionSummary> {
  const { kernel } = guest;
  const events = () => ({ ...kernel.compaction.events, ...kernel.memory.balloons.events });
  const before = events();
  const freeBefore = freeHugePages(guest);
  await finished(guest, kernel.compactMemory());
  const after = events();
  return {
    migrated: after.pgmigrate_success - before.pgmigrate_success,
    failed: after.pgmigrate_fail - before.pgmigrate_fail,
    balloonMigrated: after.balloon_migrate - before.balloon_migrate,
    isolated: after.compact_isolated - before.compact_isolated,
    migrateScanned: after.compact_migrate_scanned - before.compact_migrate_scanned,
    freeScanned: after.compact_free_scanned - before.compact_free_scanned,
    freeHugePages: [freeBefore, freeHugePages(guest)],
  };
}

async function setNrHugepages(
  guest: Guest,
  count: number,
  size: HugePageSize,
): Promise<{ hugePages: number }> {
  const { kernel } = guest;
  await finished(guest, kernel.setNrHugepages(count, size));
  const pool = size === '1G' ? kernel.giganticPagePool : kernel.hugePagePool;
  return { hugePages: pool.count };
}

/**
 * Resolves with what became of the driver of the device when the verb's work is done; throws
 * DriverError when it is not possible.
 */
function driverVerb(
  guest: Guest,
  verb: DriverVerb,
  balloon: GuestBalloon,
): Promise<{ driver: string }> {
  const task = guest.verb(verb, balloon);
  return finished(guest, task).then(() => ({ driver: balloon.core.state }));
}

/** SIGKILL: the process frees what it has when it runs next. */
function kill(guest: Guest, pid: number): { killed: string } {
  const { processes, scheduler } = guest.kernel;
  const process = processes.list().find((one) => one.pid === pid);
  if (process === undefined) throw new ControlError(`ESRCH: no process ${pid}`);
  process.kill();
  scheduler.run();
  return { killed: process.name };
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
    if (request.verb === 'dump') return dumpGuest(guest, request.pfns, request.device);
    if (guest.power === 'off') throw new ControlError(`guest ${guest.id} is off`);
    switch (request.verb) {
      case 'run': {
        const program = programSchema.parse(request.program);
        guest.run(program);
        return { started: program.name };
      }
      case 'kill':
        return kill(guest, request.pid);
      case 'pagemap':
        return countPages(guest.kernel.memory, request.cellPages);
      case 'compact_memory':
        return compactMemory(guest);
      case 'compaction_proactiveness':
        guest.kernel.compaction.proactiveness.value = request.value;
        return { compaction_proactiveness: request.value };
      case 'nr_hugepages':
        return setNrHugepages(guest, request.count, request.size);
      case 'unbind':
      case 'bind':
        return driverVerb(guest, request.verb, findBalloon(guest, request.device));
      default:
        return driverVerb(guest, request.verb, guest.kernel.balloons.first);
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
