import { PAGE_EVENT, pageLifecycle } from '../../guest/mm/page/page-lifecycle.ts';
import { FRAME_EVENT, frameTable } from '../../host/ram/frame-lifecycle.ts';
import { ILLEGAL, type LifecycleTable } from '../../shared/lifecycle/compile.ts';
import { Population } from '../../shared/lifecycle/population.ts';
import { inTurns, loop } from './measure.ts';
import { atLeast, type Report, type Row } from './report.ts';

const PAGES = 1 << 20;
const PASSES = 4;
const STEPS = PAGES * PASSES;
const ROUNDS = 11;

/** Round trips that end where they began, so that a round can follow on the last one. */
const GUEST_TRIP = [PAGE_EVENT.inflate, PAGE_EVENT.deflate, PAGE_EVENT.inflate, PAGE_EVENT.deflate];
const HOST_TRIP = [
  FRAME_EVENT.inflate,
  FRAME_EVENT.discard,
  FRAME_EVENT.deflate,
  FRAME_EVENT.report,
] as const;

/** Raw baseline: look-up in a dense table, a byte a page, illegal steps only counted. */
class BareTable {
  readonly #bytes: Uint8Array;
  readonly #table: LifecycleTable;
  illegal = 0;

  constructor(table: LifecycleTable, state: number) {
    this.#table = table;
    this.#bytes = new Uint8Array(PAGES).fill(state);
  }

  run(trip: readonly number[]): void {
    const { next, eventShift } = this.#table;
    const bytes = this.#bytes;
    let illegal = 0;
    for (let step = 0; step < STEPS; step++) {
      const page = step & (PAGES - 1);
      const to = next[(bytes[page] << eventShift) | trip[step >> 20]];
      if (to === ILLEGAL) illegal++;
      else bytes[page] = to;
    }
    this.illegal += illegal;
  }
}

/** What happens to a page's state in the product: legality, population counts, the state itself. */
class Transitions {
  readonly #pages: Population;

  constructor(table: LifecycleTable, state: number) {
    this.#pages = new Population(table, new Uint8Array(PAGES).fill(state));
  }

  run(trip: readonly number[]): void {
    const pages = this.#pages;
    for (let step = 0; step < STEPS; step++) pages.step(step & (PAGES - 1), trip[step >> 20]);
  }
}

export async function pageTransition(): Promise<Report> {
  const guest = pageLifecycle.table;
  const rows = [
    await compare('page frame of the guest', guest, guest.states.allocated, GUEST_TRIP),
    await compare('page frame of the host', frameTable, frameTable.states.reported, HOST_TRIP),
  ];
  return {
    name: 'page-transition',
    title: 'one step of one page under its compiled state machine, 1M pages',
    baseline: 'look-up in a dense table and a byte a page, no counts',
    rows,
  };
}

async function compare(
  what: string,
  table: LifecycleTable,
  state: number,
  trip: readonly number[],
): Promise<Row> {
  const bare = new BareTable(table, state);
  const transitions = new Transitions(table, state);
  const ns = await inTurns(ROUNDS, {
    raw: loop(STEPS, () => bare.run(trip)),
    puff: loop(STEPS, () => transitions.run(trip)),
  });
  if (bare.illegal > 0) throw new Error(`${what}: ${bare.illegal} steps are illegal`);
  return {
    what,
    figure: 1e3 / ns.puff,
    unit: 'M steps/s',
    raw: 1e3 / ns.raw,
    goal: atLeast('ratio', 0.5),
    beside: `${ns.puff.toFixed(1)} ns; limit L16: 1.3 ns`,
  };
}
