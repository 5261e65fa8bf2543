import { setTimeout as sleep } from 'node:timers/promises';
import type { CompactionSummary } from '../../shared/control/schemas.ts';
import { formatSize, PAGE_SIZE } from '../../shared/lib/units.ts';
import { Fleet, type FleetView, isSettled, withFleet } from '../fleet.ts';
import { type Output, Progress } from '../progress.ts';
import { type QmpClient, QmpError } from '../qmp-client.ts';
import { contains } from './contains.ts';
import type { Scenario, Step } from './schema.ts';

/** A step did not end as the scenario says; one line with its place. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}

/** What the world does to a step: the step failed. Anything else is a defect of ours. */
const FAILURES = new Set([
  'ControlRequestError',
  'FleetError',
  'FleetTimeout',
  'QmpConnectionError',
  'QmpError',
  'StepFailed',
]);

/**
 * Runs a scenario with real processes; `output` gets a line a step. Throws StepFailed, and what
 * keeps the processes from starting. When it returns or throws all processes have ended and
 * their folder is gone; an aborted run throws the signal's reason.
 */
export async function runScenario(
  scenario: Scenario,
  output: Output,
  abort: AbortSignal = new AbortController().signal,
): Promise<void> {
  const fleet = new Fleet({
    guests: scenario.guests.map(({ memory, ...guest }) => ({ ...guest, memoryBytes: memory })),
    seed: scenario.seed,
    strict: scenario.host.strict,
    ...(scenario.host.device === undefined ? {} : { device: scenario.host.device }),
  });
  const { name, seed, steps } = scenario;
  await withFleet(fleet, abort, async () => {
    output.write(`scenario ${name}, seed ${seed}\n`);
    await fleet.start();
    output.write(`${fleet.about}\n`);
    await playSteps(fleet, steps, output, abort);
    output.write(`scenario ${name}, seed ${seed}: all ${steps.length} steps as expected\n`);
  });
}

/** Does the steps one after the other with a fleet that was started. Throws StepFailed. */
export async function playSteps(
  fleet: Fleet,
  steps: readonly Step[],
  output: Output,
  abort: AbortSignal = new AbortController().signal,
): Promise<void> {
  const player = new StepPlayer(fleet, output, abort);
  try {
    for (const [index, step] of steps.entries()) {
      await player.play(step, `${index + 1}/${steps.length}`);
    }
  } finally {
    await player.close();
  }
}

/** How often, and how far apart, `check` looks before it takes a difference for one. */
const CHECK_LOOKS = 100;
const CHECK_EVERY_MS = 50;

class StepPlayer {
  readonly #fleet: Fleet;
  readonly #output: Output;
  readonly #abort: AbortSignal;
  readonly #qmp = new Map<string, QmpClient>();

  constructor(fleet: Fleet, output: Output, abort: AbortSignal) {
    this.#fleet = fleet;
    this.#output = output;
    this.#abort = abort;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#qmp.values()].map((client) => client.close()));
  }

  async play(step: Step, place: string): Promise<void> {
    const label = `${place} ${step.do}${'guest' in step ? ` ${step.guest}` : ''}`;
    try {
      const said = await this.#do(step, label);
      this.#output.write(`${label} ${said}\n`);
    } catch (error) {
      if (!(error instanceof Error) || !FAILURES.has(error.name)) throw error;
      throw new StepFailed(`step ${label}: ${error.message}`, { cause: error });
    }
  }

  async #do(step: Step, label: string): Promise<string> {
    switch (step.do) {
      case 'balloon': {
        const qmp = await this.#client(step.guest);
        await qmp.execute('balloon', { value: step.size });
        return `to ${formatSize(step.size)}`;
      }
      case 'settle':
        return this.#settle(step, label);
      case 'sleep':
        await sleep(step.seconds * 1000, undefined, { signal: this.#abort });
        return `${step.seconds} s`;
      case 'qmp':
        return this.#execute(step);
      case 'driver': {
        await this.#fleet.guest(step.guest, { verb: step.verb });
        return step.verb;
      }
      case 'run':
        await this.#fleet.guest(step.guest, { verb: 'run', program: step.program });
        return step.program.name;
      case 'compact_memory':
        return this.#compact(step);
      case 'nr_hugepages':
        return this.#askForHugePages(step);
      case 'cut':
        await this.#fleet.host({ verb: 'cut', guest: step.guest });
        return 'connection';
      case 'check':
        return this.#check(step);
    }
  }

  async #compact(step: Extract<Step, { do: 'compact_memory' }>): Promise<string> {
    const { guest, expectFree } = step;
    const summary = await this.#fleet.guest<CompactionSummary>(guest, { verb: 'compact_memory' });
    const [before, after] = summary.freeHugePages;
    if (expectFree !== undefined && after < expectFree) {
      throw new StepFailed(`${after} huge pages are free, expected ${expectFree}`);
    }
    const { migrated, balloonMigrated } = summary;
    const moved = `${migrated} pages moved, ${balloonMigrated} of them the balloon's`;
    return `${moved}; free huge pages ${before}, now ${after}`;
  }

  async #askForHugePages(step: Extract<Step, { do: 'nr_hugepages' }>): Promise<string> {
    const { guest, count, size, expect = count } = step;
    const request = { verb: 'nr_hugepages', count, size };
    const { hugePages } = await this.#fleet.guest<{ hugePages: number }>(guest, request);
    if (hugePages !== expect) {
      throw new StepFailed(`there are ${hugePages} of ${count} huge pages, expected ${expect}`);
    }
    return size === '2M' ? `${hugePages} of ${count}` : `${hugePages} of ${count} of ${size}`;
  }

  async #settle(step: Extract<Step, { do: 'settle' }>, label: string): Promise<string> {
    const progress = new Progress(this.#output, label);
    const first = await this.#fleet.look(step.guest);
    const way = Math.abs(first.host.actualBytes - first.host.targetBytes);
    const show = ({ host }: FleetView): void => {
      const left = Math.abs(host.actualBytes - host.targetBytes);
      progress.show(way - left, way, formatSize(host.actualBytes));
    };
    try {
      const view = await this.#fleet.until(
        step.guest,
        (now) => {
          show(now);
          return isSettled(now);
        },
        { timeoutMs: step.timeoutSeconds * 1000 },
      );
      return `at ${formatSize(view.host.actualBytes)}`;
    } finally {
      progress.end();
    }
  }

  async #execute(step: Extract<Step, { do: 'qmp' }>): Promise<string> {
    const qmp = await this.#client(step.guest);
    try {
      const result = await qmp.execute(step.execute, step.arguments);
      if (step.expectError !== undefined) {
        throw new StepFailed(`${step.execute} succeeded, expected ${step.expectError}`);
      }
      if (step.expect !== undefined && !contains(result, step.expect)) {
        const text = JSON.stringify(result, (_name, value) => {
          return typeof value === 'bigint' ? String(value) : value;
        });
        throw new StepFailed(`${step.execute} returned ${text}`);
      }
    } catch (error) {
      if (!(error instanceof QmpError) || error.errorClass !== step.expectError) throw error;
      return `${step.execute}: ${error.message}`;
    }
    return step.execute;
  }

  /** A batch may be on its way: both sides have a while to agree. */
  async #check(step: Extract<Step, { do: 'check' }>): Promise<string> {
    let found = await this.#fleet.sameFrames(step.guest);
    for (let look = 1; !found.equal && look < CHECK_LOOKS; look++) {
      await new Promise((resolve) => setTimeout(resolve, CHECK_EVERY_MS));
      found = await this.#fleet.sameFrames(step.guest);
    }
    const { equal, pages } = found;
    if (!equal) throw new StepFailed('ledger and balloon list differ');
    const bytes = pages * PAGE_SIZE;
    if (step.balloonSize !== undefined && bytes !== step.balloonSize) {
      const wanted = formatSize(step.balloonSize);
      throw new StepFailed(`the balloon holds ${formatSize(bytes)}, expected ${wanted}`);
    }
    return `ledger and list hold the same ${pages} pages`;
  }

  async #client(id: string): Promise<QmpClient> {
    const known = this.#qmp.get(id);
    if (known !== undefined) return known;
    const client = await this.#fleet.qmp(id);
    this.#qmp.set(id, client);
    return client;
  }
}
