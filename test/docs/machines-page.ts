import { dirname, join } from 'node:path/posix';
import { descriptionsOf, stateDiagram } from './diagram.ts';
import { MACHINES, type Registered, RUNS } from './registry.ts';
import { sentenceOf, stepNotes } from './source-notes.ts';

const HEAD = `# State machines

Every lifecycle, flow and stepped procedure of Puff, drawn from the xstate state machines that run.
\`npm run docs\` writes this page; a test fails when it is stale, when a state machine is missing,
or when a compiled table differs from the state machine that is drawn
([lifecycle-equivalence.ts](../test/support/lifecycle-equivalence.ts)).

Edges are events; \`after\` names a delay. In a stepped procedure the states are the steps, and an
event is what a step found. A step's note names the lock that makes it atomic. Where a procedure
has to wait, it stays in its step until it can go on.`;

/** The text of docs/machines.md; `read` gives the text of a source file. */
export function machinesPage(read: (path: string) => string): string {
  const sections = Object.entries(MACHINES).flatMap(([title, machines]) => [
    `## ${title}`,
    ...machines.map((entry) => machineText(entry, read)),
  ]);
  return `${[HEAD, contents(), ...sections].join('\n\n')}\n`;
}

/** The diagram as it stands in a document. */
export function fencedDiagram({ machine }: Registered): string {
  return ['```mermaid', stateDiagram(machine), '```'].join('\n');
}

function contents(): string {
  const rows = Object.entries(MACHINES).map(([title, machines]) => {
    const names = machines.map(({ machine }) => `\`${machine.id}\``);
    return `| ${title} | ${names.join(', ')} |`;
  });
  return ['| | |', '| --- | --- |', ...rows].join('\n');
}

function machineText(entry: Registered, read: (path: string) => string): string {
  const { machine, source, runs } = entry;
  const text = read(source);
  const about = entry.about ?? sentenceOf(text, machine.id);
  const readNeighbour = (name: string): string => read(join(dirname(source), name));
  const notes =
    runs === 'procedure' ? stepNotes(text, machine.id, readNeighbour) : descriptionsOf(machine);
  return [
    `### ${machine.id}`,
    about,
    `[${source}](../${source}), runs ${RUNS[runs]}.`,
    fencedDiagram(entry),
    ...(notes.size === 0 ? [] : [noteList(Object.keys(machine.states), notes)]),
  ].join('\n\n');
}

/** In the order in which the states are declared. */
function noteList(states: readonly string[], notes: ReadonlyMap<string, string>): string {
  const noted = states.filter((state) => notes.has(state));
  return noted.map((state) => `- \`${state}\`: ${notes.get(state)}`).join('\n');
}
