import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { documents } from '../support/documents.ts';
import { expectTableEqualsMachine } from '../support/lifecycle-equivalence.ts';
import { ROOT } from '../support/puff.ts';
import { stateDiagram } from './diagram.ts';
import { fencedDiagram, machinesPage } from './machines-page.ts';
import { MACHINES, type Registered } from './registry.ts';
import { machineCalls } from './source-notes.ts';

const PRODUCT = ['guest', 'host', 'lab', 'shared'];
const registered: readonly Registered[] = Object.values(MACHINES).flat();
const nameOf = (source: string, id: string | undefined): string => `${source}: ${id ?? 'no id'}`;
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Sources of the product, by path in the repository. */
function sources(): string[] {
  return PRODUCT.flatMap((folder) => {
    const files = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
    return files.filter((name) => name.endsWith('.ts')).map((name) => join(folder, name));
  });
}

describe('docs/machines.md', () => {
  it('is what `npm run docs` writes', async () => {
    await expect(machinesPage(read)).toMatchFileSnapshot(join(ROOT, 'docs/machines.md'));
  });

  it('has every state machine of the product: register a new one, then `npm run docs`', () => {
    const made = sources().flatMap((path) => {
      return machineCalls(read(path)).map(({ id }) => nameOf(path, id));
    });
    const known = registered.map(({ source, machine }) => nameOf(source, machine.id));
    expect(known.sort()).toEqual(made.sort());
    expect(new Set(known).size).toBe(known.length);
  });

  it('says of every stepped procedure what makes its steps atomic', () => {
    const page = machinesPage(read);
    for (const { machine, runs } of registered) {
      if (runs !== 'procedure') continue;
      const [, section = ''] = page.split(`### ${machine.id}\n`);
      const notes = section.split('### ')[0].match(/^- `\w+`: /gm) ?? [];
      expect(notes.length, machine.id).toBeGreaterThan(2);
    }
  });

  it('has the diagram that README.md shows', () => {
    const diagrams = registered.filter((entry) => {
      return documents().get('README.md')?.includes(fencedDiagram(entry));
    });
    expect(diagrams.map(({ machine }) => machine.id)).toEqual(['page']);
  });
});

describe('a compiled table is its state machine', () => {
  for (const { machine, table } of registered) {
    if (table === undefined) continue;
    it(machine.id, () => expectTableEqualsMachine(machine, table));
  }
});

describe('a diagram', () => {
  it('has every state and transition, delays, guards and what stands at the root', () => {
    const throttle = registered.find(({ machine }) => machine.id === 'qmp_event_throttle');
    expect(throttle && stateDiagram(throttle.machine).split('\n')).toEqual([
      'stateDiagram-v2',
      '  [*] --> open',
      '  open --> armed: event',
      '  open --> closed: close',
      '  armed --> armed: after period [isHolding]',
      '  armed --> open: after period',
      '  armed --> closed: close',
      '  closed --> [*]',
    ]);
  });

  it('gives a state another id where its name means something to mermaid', () => {
    const drawn = registered.map(({ machine }) => stateDiagram(machine)).join('\n');
    expect(drawn).toContain('  state "guest-panicked" as guest_panicked');
    expect(drawn).toContain('  state "end" as end_');
    expect(drawn).not.toMatch(/--> end:/);
  });
});
