import type { Prng } from '../../shared/lib/prng.ts';
import { PAGES_PER_MIB } from '../../shared/lib/units.ts';
import { HPAGE_PMD_NR } from '../mm/space/frames.ts';
import type { Waiting } from '../sched/scheduler.ts';
import type { Process } from './process.ts';

/** Programs that use anonymous memory. What each does is said at its schema (programs.ts). */

export interface Sized {
  readonly mib: number;
  readonly seconds: number;
}

export function pagesOf(mib: number): number {
  return Math.max(1, Math.round(mib * PAGES_PER_MIB));
}

export function* hog(program: Sized & { lock?: boolean | undefined }, process: Process): Waiting {
  const pageCount = pagesOf(program.mib);
  const region = yield* process.map({ pageCount, huge: 'no' });
  yield* process.touch(region, 0, pageCount);
  if (program.lock === true) yield* process.lock(region);
  yield* process.sleep(program.seconds * 1000);
  yield* process.check(region, 0, pageCount);
}

export function* frag(program: Sized & { keepEvery: number }, process: Process): Waiting {
  const pageCount = pagesOf(program.mib);
  const region = yield* process.map({ pageCount, huge: 'no' });
  yield* process.touch(region, 0, pageCount);
  for (let index = 0; index < pageCount; index++) {
    if (index % program.keepEvery !== 0) process.drop(region, index, 1);
  }
  yield* process.sleep(program.seconds * 1000);
  yield* process.check(region, 0, pageCount, program.keepEvery);
}

export function* pt(program: { times: number; seconds: number }, process: Process): Waiting {
  const pageCount = program.times * HPAGE_PMD_NR;
  const region = yield* process.map({ pageCount, huge: 'no' });
  yield* process.touch(region, 0, pageCount, HPAGE_PMD_NR);
  yield* process.sleep(program.seconds * 1000);
  yield* process.check(region, 0, pageCount, HPAGE_PMD_NR);
}

export function* daemon(
  program: { mib: number; periodMs: number },
  process: Process,
  prng: Prng,
): Waiting {
  const most = Math.max(2, pagesOf(program.mib));
  const region = yield* process.map({ pageCount: most, huge: 'no' });
  for (let held = 0; ; ) {
    const wanted = Math.floor(most / 2) + prng.below(Math.ceil(most / 2));
    if (wanted > held) yield* process.touch(region, held, wanted);
    if (wanted < held) process.drop(region, wanted, held - wanted);
    yield* process.check(region, 0, wanted, 16);
    held = wanted;
    yield* process.sleep(program.periodMs);
  }
}

export function* huge(program: Sized, process: Process): Waiting {
  const pageCount = Math.ceil(pagesOf(program.mib) / HPAGE_PMD_NR) * HPAGE_PMD_NR;
  const region = yield* process.map({ pageCount, huge: 'yes' });
  yield* process.touch(region, 0, pageCount);
  for (let index = 0; index < pageCount; index += 2 * HPAGE_PMD_NR) {
    process.drop(region, index, HPAGE_PMD_NR / 2);
  }
  yield* process.sleep(program.seconds * 1000);
  yield* process.check(region, 0, pageCount);
}

export function* forkServer(
  program: Sized & { children: number; writePercent: number },
  process: Process,
): Waiting {
  const pageCount = pagesOf(program.mib);
  const region = yield* process.map({ pageCount, huge: 'no' });
  yield* process.touch(region, 0, pageCount);
  const written = Math.floor((pageCount * program.writePercent) / 100);
  for (let number = 0; number < program.children; number++) {
    yield* process.fork(`${process.name} child`, function* (child) {
      const mine = child.regionAt(region.start);
      const from = Math.floor(((pageCount - written) * number) / program.children);
      yield* child.touch(mine, from, from + written);
      yield* child.sleep(program.seconds * 1000);
      yield* child.check(mine, 0, pageCount);
    });
    yield 0;
  }
  yield* process.sleep(program.seconds * 1000);
  yield* process.check(region, 0, pageCount);
}
