import { BALLOON_GENERATIONS, MIGRATEPAGE } from '../../guest/mm/balloon/generations.ts';
import {
  balloonPageDequeue,
  balloonPageEnqueue,
  balloonPageFree,
} from '../../guest/mm/balloon/procedures.ts';
import { resetScript, resizeScript, retargetScript } from './driver-events.ts';
import { fillScript, leakScript, type Procedures } from './driver-scripts.ts';
import type { ModelShape } from './model.ts';
import {
  type Generation,
  isolatedPages,
  type ProcedureName,
  pagesOf,
  type Scenario,
} from './names.ts';
import {
  CUT_SCRIPT,
  HOST_SCRIPT,
  isolateScript,
  type MigrateMode,
  migrateScript,
  pinScript,
  putbackScript,
} from './other-scripts.ts';
import type { Script } from './script.ts';

/** The product's own procedures of a generation. */
export function productProcedures(generation: Generation = 'movable'): Procedures {
  const { isolate, putback, migrate, migrated } = BALLOON_GENERATIONS[generation];
  return {
    enqueue: balloonPageEnqueue,
    dequeue: balloonPageDequeue,
    free: balloonPageFree,
    isolate,
    putback,
    migrate,
    balloonSuccess: migrated === MIGRATEPAGE.balloonSuccess,
  };
}

/** What changes the size of the balloon, whatever the host wants. */
const RESIZING: readonly ProcedureName[] = ['enqueue', 'dequeue'];

/** The scenario's actors around `procedures`, the product's unless others are tried. */
export function modelOf(
  scenario: Scenario,
  procedures: Procedures = productProcedures(scenario.generation),
): ModelShape {
  const { events = [] } = scenario;
  const pages = pagesOf(scenario);
  return {
    pages,
    isolated: isolatedPages(scenario),
    free: freePages(scenario),
    followsTarget:
      events.includes('retarget') && !scenario.procedures.some((name) => RESIZING.includes(name)),
    scripts: [
      ...procedureScripts(scenario.procedures, procedures, pages),
      ...(events.includes('reset') ? [resetScript(procedures)] : []),
      ...(events.includes('retarget') ? [resizeScript(procedures), retargetScript(pages)] : []),
      ...(events.includes('cut') ? [CUT_SCRIPT] : []),
      HOST_SCRIPT,
    ],
  };
}

/** One for each fill and each migration; at least one where the target is raised. */
function freePages({ procedures, events = [] }: Scenario): number {
  const allocating = procedures.filter((name) => name === 'enqueue' || name === 'migrate');
  return Math.max(allocating.length, events.includes('retarget') ? 1 : 0);
}

/** What an actor is made from. */
interface Part {
  readonly name: string;
  readonly procedures: Procedures;
  /** Pages in the balloon at the start. */
  readonly pages: number;
  /** The page that it has isolated, where it has one. */
  readonly page: number;
  /** Whether a migration may wait for page locks; where it can choose, both. */
  readonly modes: readonly MigrateMode[];
}

interface Role {
  readonly name: string;
  readonly script: (part: Part) => Script;
}

const ROLES: Readonly<Record<ProcedureName, Role>> = {
  enqueue: { name: 'fill', script: ({ name, procedures }) => fillScript(name, procedures, 1) },
  dequeue: {
    name: 'leak',
    script: ({ name, procedures, pages }) => leakScript(name, procedures, Math.min(2, pages)),
  },
  isolate: { name: 'compactor', script: ({ name, procedures }) => isolateScript(name, procedures) },
  putback: {
    name: 'compactor',
    script: ({ name, procedures, page }) => putbackScript(name, procedures, page),
  },
  migrate: {
    name: 'compactor',
    script: ({ name, procedures, ...others }) => migrateScript(name, procedures, others),
  },
  free: { name: 'pinner', script: ({ name, procedures }) => pinScript(name, procedures) },
};

/** A single migration waits or does not; of several the first one does, which is choice enough. */
function modesOf(
  names: readonly ProcedureName[],
  before: readonly ProcedureName[],
): readonly MigrateMode[] {
  if (names.filter((name) => name === 'migrate').length <= 1) return [0, 1];
  return before.includes('migrate') ? [0] : [1];
}

/** Actors are numbered among their like: `fill`, `leak`, `compactor 1`, `compactor 2`, `pinner`. */
function procedureScripts(
  names: readonly ProcedureName[],
  procedures: Procedures,
  pages: number,
): Script[] {
  return names.map((procedure, at) => {
    const role = ROLES[procedure];
    const before = names.slice(0, at);
    const number = 1 + before.filter((other) => ROLES[other].name === role.name).length;
    const name = role.name === 'compactor' || number > 1 ? `${role.name} ${number}` : role.name;
    const page = isolatedPages({ procedures: before });
    return role.script({ name, procedures, pages, page, modes: modesOf(names, before) });
  });
}
