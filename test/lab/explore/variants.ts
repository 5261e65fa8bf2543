import { expect } from 'vitest';
import { type AnyStateMachine, setup } from 'xstate';
import type { Procedures } from '../../../lab/explore/driver-scripts.ts';
import type { ModelShape } from '../../../lab/explore/model.ts';
import type { Scenario } from '../../../lab/explore/names.ts';
import { modelOf, productProcedures } from '../../../lab/explore/scenario.ts';
import { replaySchedule } from '../../../lab/explore/schedule.ts';
import type { Script, Stages } from '../../../lab/explore/script.ts';
import { explore } from '../../../lab/explore/search.ts';
import { type Effect, Procedure, procedure } from '../../../shared/lifecycle/procedure.ts';

/** The same steps in the same order, some with another effect: a mistake that can be explored. */
export function variantOf<World>(
  product: Procedure<World>,
  effects: Readonly<Record<string, Effect<World>>>,
): Procedure<World> {
  return new Procedure(product.machine, product.table, { ...product.effects, ...effects });
}

type Edges = Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;

/** The same effects behind other edges; a step that is given none is left out. */
export function rewired<World>(
  product: Procedure<World>,
  edges: Edges,
  initial = product.table.stateNames[product.table.initial],
): Procedure<World> {
  const { config } = product.machine;
  const states: Record<string, object> = { ...config.states };
  for (const [name, on] of Object.entries(edges)) {
    if (on === undefined) delete states[name];
    else states[name] = { on };
  }
  const machine: AnyStateMachine = setup({}).createMachine({ id: product.id, initial, states });
  const events = Object.fromEntries(machine.events.map((name, number) => [name, number]));
  const numbers = product.table.events;
  const same = machine.events.every((name) => numbers[name] === events[name]);
  if (!same) throw new Error('effects return the events’ numbers, which are others now');
  const effects = Object.entries(product.effects).filter(([name]) => name in states);
  return procedure(machine, events, Object.fromEntries(effects) as never);
}

/** A scenario in which some of the product's procedures are replaced. */
export function withProcedures(scenario: Scenario, replaced: Partial<Procedures>): ModelShape {
  return modelOf(scenario, { ...productProcedures(scenario.generation), ...replaced });
}

/** A scenario in which one actor has other stages, made from those that it has. */
export function withStages(
  scenario: Scenario,
  actor: string,
  change: (stages: Stages) => Stages,
): ModelShape {
  const shape = modelOf(scenario);
  const changed = (script: Script): Script =>
    script.name === actor
      ? { ...script, stages: { ...script.stages, ...change(script.stages) } }
      : script;
  return { ...shape, scripts: shape.scripts.map(changed) };
}

/**
 * What the explorer finds, which has to be something, as it is read: the rule, what broke it, the
 * schedule. Done again, the schedule leads to the same.
 */
export function mistakeIn(shape: ModelShape): string {
  const { violation } = explore(shape);
  if (violation === undefined) throw new Error('the explorer found no mistake');
  const { invariant, detail, schedule } = violation;
  expect(replaySchedule(shape, schedule)).toEqual({
    lines: schedule,
    violation: { invariant, detail },
  });
  return [`${invariant}: ${detail}`, ...schedule].join('\n');
}
