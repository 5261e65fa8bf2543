import { MIB } from '../../shared/lib/units.ts';
import { closeFile, fsync, readFile, writeFile } from '../mm/calls/files.ts';
import type { FileMapping } from '../mm/space/address-spaces.ts';
import { SlabCache } from '../mm/space/slab.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { pagesOf, type Sized } from './memory-programs.ts';
import { Killed, PAGES_PER_STEP, type Process } from './process.ts';
import type { ProcessTable } from './processes.ts';
import { canary } from './region.ts';

/** Programs that make the kernel use memory: page cache, tmpfs, slabs (see programs.ts). */

export function* reader(
  program: Sized & { passes: number },
  process: Process,
  processes: ProcessTable,
): Waiting {
  const pageCount = pagesOf(program.mib);
  const name = `reader-${process.pid}`;
  const file = createFile(processes, process, name, 'disk');
  // The file was there before the guest: what is on disk was never in memory.
  for (let index = 0; index < pageCount; index++) file.disk?.write(index, tagOf(file, index));
  file.sizePages = pageCount;
  for (let pass = 0; pass < program.passes; pass++) {
    yield* readAll(file, pageCount, process, processes);
  }
  yield* process.sleep(program.seconds * 1000);
  yield* process.call(processes.fileSystem.unlink(name));
}

export function* writer(program: Sized, process: Process, processes: ProcessTable): Waiting {
  const pageCount = pagesOf(program.mib);
  const name = `writer-${process.pid}`;
  const file = createFile(processes, process, name, 'disk');
  yield* writeAll(file, pageCount, process, processes);
  yield* process.call(fsync(processes.spaces, file));
  yield* process.sleep(program.seconds * 1000);
  yield* readAll(file, pageCount, process, processes);
  yield* process.call(processes.fileSystem.unlink(name));
}

export function* tmpfs(
  program: Sized & { files: number },
  process: Process,
  processes: ProcessTable,
): Waiting {
  const pageCount = pagesOf(program.mib / program.files);
  const names = Array.from({ length: program.files }, (_, number) => {
    return `tmpfs-${process.pid}-${number}`;
  });
  for (const name of names) {
    const file = processes.fileSystem.create(name, 'tmpfs');
    yield* writeAll(file, pageCount, process, processes);
    yield* process.call(closeFile(processes.spaces, file));
  }
  for (const [number, name] of names.entries()) {
    if (number % 2 === 1) yield* process.call(processes.fileSystem.unlink(name));
  }
  yield* process.sleep(program.seconds * 1000);
  for (const [number, name] of names.entries()) {
    if (number % 2 === 1) continue;
    const file = processes.fileSystem.open(name);
    yield* readAll(file, pageCount, process, processes);
    yield* process.call(closeFile(processes.spaces, file));
    yield* process.call(processes.fileSystem.unlink(name));
  }
}

export function* slab(
  program: Sized & { objectBytes: number; reclaimable: boolean },
  process: Process,
  processes: ProcessTable,
): Waiting {
  const { objectBytes, reclaimable } = program;
  const cache = new SlabCache(processes.spaces, { name: 'workload', objectBytes, reclaimable });
  const objects = new Int32Array(Math.ceil((program.mib * MIB) / objectBytes));
  let count = 0;
  try {
    for (; count < objects.length; count++) {
      const pfn = yield* process.call(cache.alloc(process));
      if (pfn < 0) throw new Killed(process.name);
      objects[count] = pfn;
      if (count % PAGES_PER_STEP === PAGES_PER_STEP - 1) yield 0;
    }
    yield* process.sleep(program.seconds * 1000);
  } finally {
    for (const pfn of objects.subarray(0, count)) cache.free(pfn);
  }
}

function createFile(
  processes: ProcessTable,
  process: Process,
  name: string,
  kind: 'disk' | 'tmpfs',
): FileMapping {
  const file = processes.fileSystem.create(name, kind);
  process.keepOpen(file);
  return file;
}

/** What a page of a file holds. */
function tagOf(file: FileMapping, index: number): number {
  return canary(file.id, index, 0);
}

function* writeAll(
  file: FileMapping,
  pageCount: number,
  process: Process,
  processes: ProcessTable,
): Waiting {
  for (let index = 0; index < pageCount; index++) {
    const write = { index, tag: tagOf(file, index) };
    yield* process.call(writeFile(processes.spaces, file, write, process));
    if (index % PAGES_PER_STEP === PAGES_PER_STEP - 1) yield 0;
  }
}

function* readAll(
  file: FileMapping,
  pageCount: number,
  process: Process,
  processes: ProcessTable,
): Waiting {
  for (let index = 0; index < pageCount; index++) {
    const tag = yield* process.call(readFile(processes.spaces, file, index, process));
    if (tag !== tagOf(file, index)) processes.onWrongContent(process, index);
    if (index % PAGES_PER_STEP === PAGES_PER_STEP - 1) yield 0;
  }
}
