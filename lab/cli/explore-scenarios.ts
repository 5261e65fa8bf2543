import { readFileSync } from 'node:fs';
import { MAX_EXPLORED_STATES } from '../../shared/limits.ts';
import {
  allScenarios,
  type EventName,
  type Generation,
  isolatedPages,
  MAX_PROCEDURES,
  MIN_PROCEDURES,
  PROCEDURES,
  type ProcedureName,
  pagesOf,
  type Scenario,
  scenarioText,
} from '../explore/names.ts';
import { oomDeadlock } from '../explore/oom-deadlock.ts';
import { modelOf } from '../explore/scenario.ts';
import {
  type Counterexample,
  type Replay,
  replaySchedule,
  ScheduleError,
} from '../explore/schedule.ts';
import { type Exploration, explore } from '../explore/search.ts';
import { TooManyStates } from '../explore/state-set.ts';
import { Progress } from '../progress.ts';
import { EXIT, errorLine, UsageError } from './errors.ts';

export interface ExploreFlags {
  readonly pages?: number;
  readonly event?: readonly EventName[];
  readonly generation?: Generation;
  readonly all?: true;
  readonly list?: true;
  readonly history?: true;
  readonly schedule?: string;
  readonly json?: true;
}

/**
 * What `puff explore` does. It computes without a pause, so that Ctrl-C ends the process at once:
 * there is nothing to clean up.
 */
export function exploreScenarios(names: readonly string[], flags: ExploreFlags): void {
  process.exitCode = isHeld(names, flags) ? EXIT.ok : EXIT.different;
}

/** Prints what was asked for; false when it is a counter-example to the product. */
function isHeld(names: readonly string[], flags: ExploreFlags): boolean {
  if (flags.history) return printHistory(flags);
  const scenarios = flags.all || flags.list ? everything(names, flags) : [one(names, flags)];
  if (flags.list) return printNames(scenarios.map(scenarioText), flags);
  if (flags.schedule !== undefined) return replay(scenarios[0], flags.schedule, flags);
  return exploreAll(scenarios, flags);
}

function surroundings({ pages, event, generation }: ExploreFlags): Omit<Scenario, 'procedures'> {
  return {
    ...(pages === undefined ? {} : { pages }),
    ...(event === undefined ? {} : { events: event }),
    ...(generation === undefined ? {} : { generation }),
  };
}

function everything(names: readonly string[], flags: ExploreFlags): readonly Scenario[] {
  if (names.length > 0) throw new UsageError('--all and --list take no procedures');
  if (flags.schedule !== undefined) throw new UsageError('a schedule is of one scenario');
  return allScenarios(surroundings(flags));
}

function one(names: readonly string[], flags: ExploreFlags): Scenario {
  if (names.length < MIN_PROCEDURES || names.length > MAX_PROCEDURES) {
    throw new UsageError(`name ${MIN_PROCEDURES} to ${MAX_PROCEDURES} procedures, or --all`);
  }
  const wrong = names.find((name) => !isProcedure(name));
  if (wrong !== undefined) throw new UsageError(`'${wrong}' is none of ${PROCEDURES.join(', ')}`);
  const scenario = { procedures: names.filter(isProcedure), ...surroundings(flags) };
  const needed = isolatedPages(scenario);
  if (needed <= pagesOf(scenario)) return scenario;
  throw new UsageError(`these procedures need ${needed} pages, one each that is isolated`);
}

function isProcedure(name: string): name is ProcedureName {
  return (PROCEDURES as readonly string[]).includes(name);
}

/**
 * True when all rules held. What was found is printed as soon as it is. One that is too large does
 * not keep the others from being explored, and is told last.
 */
function exploreAll(scenarios: readonly Scenario[], { json }: ExploreFlags): boolean {
  const width = Math.max(...scenarios.map((scenario) => scenarioText(scenario).length));
  const tooLarge: string[] = [];
  let allHeld = true;
  scenarios.forEach((scenario, index) => {
    const text = scenarioText(scenario);
    const startMs = performance.now();
    const result = exploreOne(scenario, (states) => {
      showProgress(index, scenarios.length, `${states} states`);
    });
    if (result === undefined) {
      tooLarge.push(text);
      return;
    }
    const seconds = (performance.now() - startMs) / 1000;
    if (json) print(jsonLine(text, result, seconds));
    else printFound(text, line(text.padEnd(width), result, seconds), result.violation);
    allHeld &&= result.violation === undefined;
  });
  if (tooLarge.length === 0) return allHeld;
  const limit = `more than ${MAX_EXPLORED_STATES} states, take fewer procedures, pages or events`;
  const refusal = new UsageError(`${limit}: ${tooLarge.join('; ')}`);
  if (allHeld) throw refusal;
  process.stderr.write(`${errorLine(refusal)}\n`);
  return false;
}

/** Undefined when there are too many states. */
function exploreOne(
  scenario: Scenario,
  onProgress: (states: number) => void,
): Exploration | undefined {
  try {
    return explore(modelOf(scenario), { onProgress });
  } catch (error) {
    if (error instanceof TooManyStates) return undefined;
    throw error;
  } finally {
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  }
}

function showProgress(done: number, total: number, detail: string): void {
  if (process.stderr.isTTY) new Progress(process.stderr, 'explore').show(done, total, detail);
}

function line(text: string, result: Exploration, seconds: number): string {
  const { states, transitions, violation } = result;
  const verdict = violation === undefined ? 'all rules held' : `BROKEN: ${violation.invariant}`;
  const figures = [
    `${states} states`.padStart(14),
    `${transitions} transitions`.padStart(19),
    `${ordersText(result)} orders`.padStart(17),
    `${seconds.toFixed(2)} s`.padStart(8),
  ];
  return `${text} ${figures.join(' ')}  ${verdict}`;
}

function ordersText({ orders, violation }: Exploration): string {
  if (orders === undefined) return violation === undefined ? 'endless' : '-';
  const digits = String(orders);
  return digits.length <= 9 ? digits : Number(orders).toExponential(2);
}

function jsonLine(scenario: string, result: Exploration, seconds: number): string {
  const { states, transitions, orders, violation } = result;
  return JSON.stringify({
    scenario,
    states,
    transitions,
    orders: orders === undefined ? null : String(orders),
    seconds: Number(seconds.toFixed(3)),
    violation: violation ?? null,
  });
}

/** A counter-example comes as lines that `--schedule` takes: what is no move is a comment. */
function printFound(text: string, figures: string, violation: Counterexample | undefined): void {
  if (violation === undefined) {
    print(figures);
    return;
  }
  const { detail, schedule } = violation;
  const again = `# puff explore ${text} --schedule FILE`;
  print([`# ${figures}: ${detail}`, again, ...schedule].join('\n'));
}

function printNames(names: readonly string[], { json }: ExploreFlags): true {
  return print((json ? names.map((scenario) => JSON.stringify({ scenario })) : names).join('\n'));
}

function replay(scenario: Scenario, file: string, { json }: ExploreFlags): boolean {
  const text = readFileSync(file === '-' ? 0 : file, 'utf8');
  const { lines, violation } = replayed(scenario, text.split('\n'));
  if (json) {
    const found = { scenario: scenarioText(scenario), schedule: lines };
    print(JSON.stringify({ ...found, violation: violation ?? null }));
    return violation === undefined;
  }
  if (lines.length > 0) print(lines.join('\n'));
  print(
    violation === undefined ? '# all rules held' : `# ${violation.invariant}: ${violation.detail}`,
  );
  return violation === undefined;
}

/** A line that fits nowhere is the caller's to mend. */
function replayed(scenario: Scenario, schedule: readonly string[]): Replay {
  try {
    return replaySchedule(modelOf(scenario), schedule);
  } catch (error) {
    throw error instanceof ScheduleError ? new UsageError(error.message) : error;
  }
}

/** A mistake that the product does not have. */
function printHistory({ json }: ExploreFlags): true {
  const mistake = oomDeadlock();
  if (json) return print(JSON.stringify(mistake));
  const about =
    'fill_balloon as it was before c7cdff0e8647 ("virtio_balloon: fix deadlock on OOM")';
  return print([`# ${about}`, `# ${mistake.invariant}`, ...mistake.schedule].join('\n'));
}

function print(text: string): true {
  process.stdout.write(`${text}\n`);
  return true;
}
