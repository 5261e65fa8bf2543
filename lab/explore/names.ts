/** What a scenario of the explorer is made of. Imports nothing, so that help comes at once. */

/** What can be explored together, by the name of the procedure in its middle. */
export const PROCEDURES = ['enqueue', 'dequeue', 'isolate', 'putback', 'migrate', 'free'] as const;
export type ProcedureName = (typeof PROCEDURES)[number];

/** What the driver, the host or the connection may do at any time, once. */
export const EVENTS = ['reset', 'retarget', 'cut'] as const;
export type EventName = (typeof EVENTS)[number];

/** How pages are isolated and migrated: Linux 6.1 or the postings of 2012. */
export const GENERATIONS = ['movable', 'v2012'] as const;
export type Generation = (typeof GENERATIONS)[number];

/** One procedure meets nobody; five or four pages make more states than can be kept. */
export const MIN_PROCEDURES = 2;
export const MAX_PROCEDURES = 4;
export const MAX_PAGES = 3;

export interface Scenario {
  readonly procedures: readonly ProcedureName[];
  /** Pages in the balloon at the start, 1 to MAX_PAGES; those needed when left out. */
  readonly pages?: number;
  readonly events?: readonly EventName[];
  readonly generation?: Generation;
}

/** Pages that are isolated when a scenario begins: one for each who puts back or migrates. */
export function isolatedPages({ procedures }: Scenario): number {
  return procedures.filter((name) => name === 'putback' || name === 'migrate').length;
}

export function pagesOf(scenario: Scenario): number {
  return scenario.pages ?? Math.max(1, isolatedPages(scenario));
}

/** `isolate dequeue --pages 1`: the scenario as it is written on the command line. */
export function scenarioText(scenario: Scenario): string {
  const { procedures, events = [], generation = 'movable' } = scenario;
  return [
    ...procedures,
    `--pages ${pagesOf(scenario)}`,
    ...events.map((event) => `--event ${event}`),
    ...(generation === 'movable' ? [] : [`--generation ${generation}`]),
  ].join(' ');
}

/** Every pair of procedures, one with itself included. */
export function allPairs(): readonly (readonly ProcedureName[])[] {
  return PROCEDURES.flatMap((first, at) => PROCEDURES.slice(at).map((second) => [first, second]));
}

/** Every three procedures among which is a migration. */
export function allTriplesWithMigrate(): readonly (readonly ProcedureName[])[] {
  return allPairs().map((pair) => [...pair, 'migrate']);
}

type Surroundings = Pick<Scenario, 'pages' | 'events' | 'generation'>;

/**
 * What `puff explore --all` explores: every pair over one to three pages and every three with a
 * migration over as few pages as they need, all of it in the same surroundings. With `pages` the
 * scenarios that fit this number.
 */
export function allScenarios({ pages, ...others }: Surroundings = {}): readonly Scenario[] {
  const sizes = pages === undefined ? [1, 2, 3] : [pages];
  const pairs = allPairs().flatMap((procedures) =>
    sizes.map((size) => ({ procedures, pages: size, ...others })),
  );
  const triples = allTriplesWithMigrate().map((procedures) => ({
    procedures,
    pages: pages ?? pagesOf({ procedures }),
    ...others,
  }));
  return [...pairs, ...triples].filter((scenario) => isolatedPages(scenario) <= scenario.pages);
}
