import { existsSync } from 'node:fs';
import type { BalloonCompaction } from '../../guest/mm/balloon/compaction-mode.ts';
import { RealClock } from '../../shared/lib/real-clock.ts';
import { formatSize, MIB } from '../../shared/lib/units.ts';
import { MIN_FRAGMENTATION_BYTES, runFragmentation } from '../fragmentation/fragmentation.ts';
import { runScenario, StepFailed } from '../scenario/runner.ts';
import { readScenario } from '../scenario/schema.ts';
import { EXIT, errorLine, UsageError } from './errors.ts';
import { ownNames, pathOrOwn } from './package-files.ts';
import { untilDoneOrStopped } from './signals.ts';

/** Flags of `puff run`, for the scenario that is no file. */
export interface RunFlags {
  readonly memory?: number;
  readonly balloonCompaction?: BalloonCompaction;
}

const FRAGMENTATION = 'fragmentation';
const DEFAULT_MEMORY_BYTES = 512 * MIB;
const DEFAULT_MODES = ['movable', 'off'] as const;
/** Of a log, or of a terminal that does not tell. */
const DEFAULT_COLUMNS = 80;

/** What `puff run` does: plays a scenario file, or one of Puff's own by its name. */
export async function playScenario(name: string, flags: RunFlags = {}): Promise<void> {
  const path = pathOrOwn(name, `lab/scenarios/${name}.json`);
  if (path === FRAGMENTATION && !existsSync(path)) return playFragmentation(flags);
  if (Object.keys(flags).length > 0) {
    throw new UsageError(`--memory and --balloon-compaction are for ${FRAGMENTATION}`);
  }
  const scenario = readScenario(findScenario(name, path));
  try {
    await untilDoneOrStopped((abort) => runScenario(scenario, process.stdout, abort));
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    process.stderr.write(`${errorLine(error)}\n`);
    process.exitCode = EXIT.different;
  }
}

function playFragmentation({ memory, balloonCompaction }: RunFlags): Promise<void> {
  const memoryBytes = memory ?? DEFAULT_MEMORY_BYTES;
  if (memoryBytes < MIN_FRAGMENTATION_BYTES) {
    throw new UsageError(`${FRAGMENTATION} needs ${formatSize(MIN_FRAGMENTATION_BYTES)} or more`);
  }
  const { stdout, env } = process;
  const colour = stdout.isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb';
  const style = { colour, columns: stdout.columns ?? DEFAULT_COLUMNS };
  const modes = balloonCompaction === undefined ? DEFAULT_MODES : [balloonCompaction];
  return untilDoneOrStopped((abort) => {
    const clock = new RealClock();
    return runFragmentation({ memoryBytes, modes, clock }, style, stdout, abort);
  });
}

function findScenario(name: string, path: string): string {
  if (path !== name || name.includes('/') || name.includes('.')) return path;
  const own = [...ownNames('lab/scenarios', '.json'), FRAGMENTATION].join(', ');
  throw new UsageError(`no scenario ${name}: no such file, and Puff's own are ${own}`);
}
