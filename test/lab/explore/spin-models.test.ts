import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Scenario } from '../../../lab/explore/names.ts';
import { modelOf } from '../../../lab/explore/scenario.ts';
import { explore } from '../../../lab/explore/search.ts';
import { ROOT } from '../../support/puff.ts';

interface Counts {
  readonly states: number;
  readonly transitions: number;
}

const MODELS: readonly (readonly [name: string, scenario: Scenario])[] = [
  ['isolate-dequeue', { procedures: ['dequeue', 'isolate'], pages: 1 }],
  ['migrate-dequeue', { procedures: ['dequeue', 'migrate'], pages: 1 }],
];

const SPIN = process.env.SPIN ?? 'spin';
const hasSpin = [SPIN, 'gcc'].every(
  (command) => spawnSync(command, [command === 'gcc' ? '--version' : '-V']).status === 0,
);

const pathOf = (name: string): string => join(ROOT, 'test/models', `${name}.pml`);

function recorded(name: string): Counts {
  const head = /^ \* states: (\d+), transitions: (\d+)$/m.exec(readFileSync(pathOf(name), 'utf8'));
  return { states: Number(head?.[1]), transitions: Number(head?.[2]) };
}

function run(command: string, args: readonly string[], cwd: string): string {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  expect([command, status, stderr]).toEqual([command, 0, '']);
  return stdout;
}

/** What SPIN visits, less what is its own (test/models/README.md). */
function countedBySpin(name: string): Counts {
  const folder = mkdtempSync(join(tmpdir(), 'puff-spin-'));
  try {
    copyFileSync(pathOf(name), join(folder, 'model.pml'));
    run(SPIN, ['-a', 'model.pml'], folder);
    run('gcc', ['-O1', '-DSAFETY', '-DNOREDUCE', '-o', 'pan', 'pan.c'], folder);
    const report = run('./pan', ['-E'], folder);
    expect(report).toMatch(/errors: 0$/m);
    const number = (what: RegExp): number => Number(what.exec(report)?.[1]);
    const before = /^init /m.test(readFileSync(pathOf(name), 'utf8')) ? 1 : 0;
    const states = number(/(\d+) states, stored/) - before;
    return { states, transitions: number(/(\d+) transitions/) - 1 - before };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.each(MODELS)('SPIN model %s', (name, scenario) => {
  const { states, transitions, violation } = explore(modelOf(scenario));

  it('the explorer reaches as many states by as many transitions as its head records', () => {
    expect(violation).toBeUndefined();
    expect({ states, transitions }).toEqual(recorded(name));
  });

  it.skipIf(!hasSpin)('the explorer reaches as many as SPIN does', () => {
    expect({ states, transitions }).toEqual(countedBySpin(name));
  });
});
