import { runScenario, StepFailed } from '../scenario/runner.ts';
import { readScenario } from '../scenario/schema.ts';
import { EXIT, errorLine, UsageError } from './errors.ts';
import { ownNames, pathOrOwn } from './package-files.ts';
import { untilDoneOrStopped } from './signals.ts';

/** What `puff run` does: plays a scenario file, or one of Puff's own by its name. */
export async function playScenario(name: string): Promise<void> {
  const scenario = readScenario(findScenario(name));
  try {
    await untilDoneOrStopped((abort) => runScenario(scenario, process.stdout, abort));
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    process.stderr.write(`${errorLine(error)}\n`);
    process.exitCode = EXIT.different;
  }
}

function findScenario(name: string): string {
  const path = pathOrOwn(name, `lab/scenarios/${name}.json`);
  if (path !== name || name.includes('/') || name.includes('.')) return path;
  const own = ownNames('lab/scenarios', '.json').join(', ');
  throw new UsageError(`no scenario ${name}: no such file, and Puff's own are ${own}`);
}
