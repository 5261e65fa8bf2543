import { expect, it } from 'vitest';
import type { Procedures } from '../../../lab/explore/driver-scripts.ts';
import { allScenarios } from '../../../lab/explore/names.ts';
import { modelOf, productProcedures } from '../../../lab/explore/scenario.ts';
import type { BalloonProcedure } from '../../../lab/explore/script.ts';
import { explore } from '../../../lab/explore/search.ts';
import { WAIT } from '../../../shared/lifecycle/procedure.ts';
import { variantOf } from './variants.ts';

type Seen = Set<string>;

/** The same procedure, which notes what each of its steps found. */
function noted(product: BalloonProcedure, seen: Seen): BalloonProcedure {
  const { eventNames } = product.table;
  const effects = Object.entries(product.effects).flatMap(([step, effect]) => {
    if (effect === undefined) return [];
    const noting: typeof effect = (frame, world) => {
      const event = effect(frame, world);
      seen.add(`${product.id}.${step} ${event === WAIT ? 'waits' : eventNames[event]}`);
      return event;
    };
    return [[step, noting] as const];
  });
  return variantOf(product, Object.fromEntries(effects));
}

function edgesOf({ id, table }: BalloonProcedure): string[] {
  return table.stateNames.flatMap((step, state) =>
    table.eventNames
      .filter((_, event) => table.can(state, event))
      .map((on) => `${id}.${step} ${on}`),
  );
}

it('pairs take every edge of the product’s procedures but those that nobody can', () => {
  const { balloonSuccess, ...product } = productProcedures();
  const seen: Seen = new Set();
  const procedures: Procedures = {
    balloonSuccess,
    enqueue: noted(product.enqueue, seen),
    dequeue: noted(product.dequeue, seen),
    free: noted(product.free, seen),
    isolate: noted(product.isolate, seen),
    putback: noted(product.putback, seen),
    migrate: noted(product.migrate, seen),
  };
  for (const scenario of allScenarios()) {
    if (scenario.procedures.length === 2) explore(modelOf(scenario, procedures));
  }
  const missing = Object.values(product)
    .flatMap(edgesOf)
    .filter((edge) => !seen.has(edge));
  // A page on the list is not isolated, as long as pages_lock is held over the walk; an isolated
  // page stays the balloon's; nobody locks a page that is no balloon's.
  expect(missing.sort()).toMatchInlineSnapshot(`
    [
      "balloon_page_dequeue.giveUp yes",
      "balloon_page_dequeue.recheck no",
      "balloon_page_migrate.lockNew no",
      "balloon_page_migrate.unlockOld yes",
      "balloon_page_putback.recheck no",
    ]
  `);
  const waits = [...seen].filter((edge) => edge.endsWith(' waits'));
  expect(waits.sort()).toMatchInlineSnapshot(`
    [
      "balloon_page_migrate.ackDeflate waits",
      "balloon_page_migrate.ackInflate waits",
      "balloon_page_migrate.lockOld waits",
      "balloon_page_putback.lock waits",
    ]
  `);
});
