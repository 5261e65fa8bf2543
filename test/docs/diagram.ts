import type { AnyStateMachine, AnyStateNode } from 'xstate';

/** A flat xstate state machine as a mermaid state diagram, in the order of its declaration. */

/** Words that mermaid reads as its own where a name of a state stands. */
const RESERVED = new Set(['as', 'default', 'direction', 'end', 'hide', 'note', 'scale', 'state']);

/** How xstate names the event at the end of a delay. */
const AFTER = /^xstate\.after\.([^.]+)\./;

export function stateDiagram(machine: AnyStateMachine): string {
  const nodes: readonly AnyStateNode[] = Object.values(machine.states);
  return [
    'stateDiagram-v2',
    ...nodes.filter(({ key }) => idOf(key) !== key).map(alias),
    `  [*] --> ${idOf(initialOf(machine))}`,
    ...nodes.flatMap((node) => edgesOf(machine, node)),
    ...nodes.filter(({ type }) => type === 'final').map(({ key }) => `  ${idOf(key)} --> [*]`),
  ].join('\n');
}

/** Notes on the states of a machine, by name: their descriptions. */
export function descriptionsOf(machine: AnyStateMachine): ReadonlyMap<string, string> {
  const notes = new Map<string, string>();
  for (const { key, description } of Object.values(machine.states) as AnyStateNode[]) {
    if (description !== undefined) notes.set(key, description);
  }
  return notes;
}

function initialOf(machine: AnyStateMachine): string {
  const first = machine.root.initial.target[0];
  if (first === undefined) throw new Error(`${machine.id} has no initial state`);
  return first.key;
}

/** One line for each pair of states; a state's own transitions come before the root's. */
function edgesOf(machine: AnyStateMachine, node: AnyStateNode): string[] {
  if (node.type === 'final') return [];
  const labels = new Map<string, string[]>();
  const seen = new Set<string>();
  for (const [event, candidates] of [...node.transitions, ...machine.root.transitions]) {
    if (seen.has(event)) continue;
    seen.add(event);
    for (const { target, guard } of candidates) {
      const to = target?.[0]?.key;
      if (to === undefined) continue;
      const label = `${eventText(event)}${guard === undefined ? '' : ` [${String(guard)}]`}`;
      labels.set(to, [...(labels.get(to) ?? []), label]);
    }
  }
  return [...labels].map(
    ([to, texts]) => `  ${idOf(node.key)} --> ${idOf(to)}: ${texts.join(', ')}`,
  );
}

function eventText(event: string): string {
  const delay = AFTER.exec(event)?.[1];
  if (delay === undefined) return event;
  return delay === '0' ? 'at once' : `after ${delay}`;
}

function idOf(name: string): string {
  const id = name.replace(/\W/g, '_');
  return RESERVED.has(id) ? `${id}_` : id;
}

function alias({ key }: AnyStateNode): string {
  return `  state "${key}" as ${idOf(key)}`;
}
