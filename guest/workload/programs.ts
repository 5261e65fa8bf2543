import { z } from 'zod';
import type { Prng } from '../../shared/lib/prng.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { reader, slab, tmpfs, writer } from './kernel-programs.ts';
import { daemon, forkServer, frag, hog, huge, pt } from './memory-programs.ts';
import type { Process } from './process.ts';
import { type ProcessTable, runProcess } from './processes.ts';

const mib = z.number().positive();
/** How long a program holds what it has before it checks it and exits. */
const seconds = z.number().nonnegative();

/**
 * Programs a guest can run, as data: what scenario files and the control channel pass. The first
 * three are those of the recordings' test program, with huge pages off for what they map.
 */
export const programSchema = z.discriminatedUnion('name', [
  /** Touches `mib` of anonymous memory, with `lock` locks it (mlock), holds it and exits. */
  z.strictObject({ name: z.literal('hog'), mib, seconds, lock: z.boolean().optional() }),
  /** Touches, drops all but every `keepEvery`-th page and holds. */
  z.strictObject({ name: z.literal('frag'), mib, keepEvery: z.int().min(2), seconds }),
  /** Touches one page every 2 MiB, `times` times: as many page tables as pages. */
  z.strictObject({ name: z.literal('pt'), times: z.int().min(1).max(1_000_000), seconds }),
  /** For ever grows and shrinks around `mib` and reads again, so that statistics move. */
  z.strictObject({
    name: z.literal('daemon'),
    mib,
    periodMs: z.number().positive().default(500),
  }),
  /** Touches memory that wants huge pages, drops a part of each second one and holds. */
  z.strictObject({ name: z.literal('huge'), mib, seconds }),
  /** Touches `mib`, then forks `children` that each write a part of it; holds; checks. */
  z.strictObject({
    name: z.literal('forkserver'),
    mib,
    children: z.int().min(1).max(1000),
    writePercent: z.number().min(0).max(100).default(25),
    seconds,
  }),
  /** Reads a file of `mib` from disk, `passes` times. */
  z.strictObject({ name: z.literal('reader'), mib, passes: z.int().min(1).default(2), seconds }),
  /** Writes a file of `mib`, has it written to disk, reads it back. */
  z.strictObject({ name: z.literal('writer'), mib, seconds }),
  /** Writes `mib` to files of tmpfs, removes every second, holds, reads the rest, removes all. */
  z.strictObject({ name: z.literal('tmpfs'), mib, files: z.int().min(1).default(4), seconds }),
  /** Makes the kernel keep `mib` of small objects: unmovable memory, or reclaimable. */
  z.strictObject({
    name: z.literal('slab'),
    mib,
    objectBytes: z.int().min(8).max(32_768).default(1024),
    reclaimable: z.boolean().default(false),
    seconds,
  }),
]);
export type Program = z.infer<typeof programSchema>;

/** What a program runs on. */
export interface ProgramWorld {
  readonly processes: ProcessTable;
  readonly prng: Prng;
}

/** Runs a program in a process; the process exits whatever way the program ends. */
export function startProgram(program: Program, process: Process, world: ProgramWorld): Waiting {
  return runProcess(process, run(program, process, world));
}

function* run(program: Program, process: Process, world: ProgramWorld): Waiting {
  const { processes, prng } = world;
  yield* process.start();
  switch (program.name) {
    case 'hog':
      return yield* hog(program, process);
    case 'frag':
      return yield* frag(program, process);
    case 'pt':
      return yield* pt(program, process);
    case 'daemon':
      return yield* daemon(program, process, prng);
    case 'huge':
      return yield* huge(program, process);
    case 'forkserver':
      return yield* forkServer(program, process);
    case 'reader':
      return yield* reader(program, process, processes);
    case 'writer':
      return yield* writer(program, process, processes);
    case 'tmpfs':
      return yield* tmpfs(program, process, processes);
    case 'slab':
      return yield* slab(program, process, processes);
  }
}
