import { z } from 'zod';
import type { Prng } from '../../shared/lib/prng.ts';
import { MIB, PAGES_PER_MIB } from '../../shared/lib/units.ts';
import {
  MAX_GUEST_MIB,
  MAX_PROGRAM_FILE_MIB,
  MAX_PROGRAM_OBJECTS,
  MAX_PROGRAM_PAGES,
  MAX_TIMER_MS,
} from '../../shared/limits.ts';
import { HPAGE_PMD_NR } from '../mm/space/frames.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { reader, slab, tmpfs, writer } from './kernel-programs.ts';
import { daemon, forkServer, frag, hog, huge, pt } from './memory-programs.ts';
import type { Process } from './process.ts';
import { type ProcessTable, runProcess } from './processes.ts';

/** MiB of anonymous memory, and of files; fractions of it are whole pages. */
const mib = z.number().positive().max(MAX_GUEST_MIB);
const fileMib = z.number().positive().max(MAX_PROGRAM_FILE_MIB);
/** How long a program holds what it has before it checks it and exits. */
const seconds = z
  .number()
  .nonnegative()
  .max(Math.floor(MAX_TIMER_MS / 1000));

/** Its parent and each child remember what they wrote. */
function isSmallFamily(program: { mib: number; children: number }): boolean {
  return program.mib * PAGES_PER_MIB * (program.children + 1) <= MAX_PROGRAM_PAGES;
}

function hasFewObjects(program: { mib: number; objectBytes: number }): boolean {
  return (program.mib * MIB) / program.objectBytes <= MAX_PROGRAM_OBJECTS;
}

/**
 * Programs a guest can run, as data: what scenario files and the control channel pass. The first
 * three are those of the recordings' test program, with huge pages off for what they map; its
 * others move pages between NUMA nodes, of which an emulated guest has one.
 */
export const programSchema = z.discriminatedUnion('name', [
  /** Touches `mib` of anonymous memory, with `lock` locks it (mlock), holds it and exits. */
  z.strictObject({ name: z.literal('hog'), mib, seconds, lock: z.boolean().optional() }),
  /** Touches, drops all but every `keepEvery`-th page and holds. */
  z.strictObject({
    name: z.literal('frag'),
    mib,
    keepEvery: z.int().min(2).max(MAX_PROGRAM_PAGES),
    seconds,
  }),
  /** Touches one page every 2 MiB, `times` times: as many page tables as pages. */
  z.strictObject({
    name: z.literal('pt'),
    times: z
      .int()
      .min(1)
      .max(MAX_PROGRAM_PAGES / HPAGE_PMD_NR),
    seconds,
  }),
  /** For ever grows and shrinks around `mib` and reads again, so that statistics move. */
  z.strictObject({
    name: z.literal('daemon'),
    mib,
    periodMs: z.number().positive().max(MAX_TIMER_MS).default(500),
  }),
  /** Touches memory that wants huge pages, drops a part of each second one and holds. */
  z.strictObject({ name: z.literal('huge'), mib, seconds }),
  /** Touches `mib`, then forks `children` that each write a part of it; holds; checks. */
  z
    .strictObject({
      name: z.literal('forkserver'),
      mib,
      children: z.int().min(1).max(1000),
      writePercent: z.number().min(0).max(100).default(25),
      seconds,
    })
    .refine(isSmallFamily, 'mib times processes is at most 262144'),
  /** Reads a file of `mib` from disk, `passes` times. */
  z.strictObject({
    name: z.literal('reader'),
    mib: fileMib,
    passes: z.int().min(1).max(1_000_000).default(2),
    seconds,
  }),
  /** Writes a file of `mib`, has it written to disk, reads it back. */
  z.strictObject({ name: z.literal('writer'), mib: fileMib, seconds }),
  /** Writes `mib` to files of tmpfs, removes every second, holds, reads the rest, removes all. */
  z.strictObject({
    name: z.literal('tmpfs'),
    mib: fileMib,
    files: z.int().min(1).max(10_000).default(4),
    seconds,
  }),
  /** Makes the kernel keep `mib` of small objects: unmovable memory, or reclaimable. */
  z
    .strictObject({
      name: z.literal('slab'),
      mib,
      objectBytes: z.int().min(8).max(32_768).default(1024),
      reclaimable: z.boolean().default(false),
      seconds,
    })
    .refine(hasFewObjects, 'mib is at most 64 times objectBytes'),
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
