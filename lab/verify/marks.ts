import { UnusableRecording } from './files.ts';
import type { Recording } from './recording.ts';
import { OPERATOR_ACTIONS, type OperatorAction } from './types.ts';
import type { WireEvent } from './wire-lines.ts';

/**
 * Moments that nobody wrote down and the wire shows: when the driver core took the device up, and
 * when an operator unbound or bound the driver (meta.json gives the actions' order, not their
 * times). Indices are those of `Recording.wire`.
 */
export interface Marks {
  /** The last status 0 before the first 1, and that 1. */
  readonly reset: number;
  readonly acknowledge: number;
  readonly actions: readonly ActionMark[];
}

export interface ActionMark {
  readonly action: OperatorAction;
  readonly wireIndex: number;
  /** false: nothing to be seen (rmmod after unbind); then the index is the next visible one's. */
  readonly visible: boolean;
}

/** Throws UnusableRecording if no driver comes up or a step left no trace where it must have. */
export function findMarks(recording: Recording): Marks {
  const { wire, name } = recording;
  const acknowledge = wire.findIndex((event) => event.ev === 'status' && event.val === 1);
  const reset = wire.findLastIndex(
    (event, index) => index < acknowledge && event.ev === 'status' && event.val === 0,
  );
  if (reset < 0) throw new UnusableRecording(`${name}: no driver comes up on the wire`);
  return { reset, acknowledge, actions: findActions(recording, acknowledge) };
}

function findActions({ wire, steps, name }: Recording, acknowledge: number): ActionMark[] {
  const marks: ActionMark[] = [];
  const hidden: OperatorAction[] = [];
  let bound = true;
  let from = acknowledge + 1;
  const markAll = (wireIndex: number): void => {
    marks.push(...hidden.map((action) => ({ action, wireIndex, visible: false })));
    hidden.length = 0;
  };
  for (const action of steps.flatMap(operatorAction)) {
    const leaves = action === 'unbind' || action === 'rmmod';
    if (leaves !== bound) {
      hidden.push(action);
      continue;
    }
    const wireIndex = leaves ? findLeaving(wire, from) : findComing(wire, from);
    if (wireIndex < 0)
      throw new UnusableRecording(`${name}: '${action}' shows nowhere on the wire`);
    markAll(wireIndex);
    marks.push({ action, wireIndex, visible: true });
    from = wireIndex + 1;
    bound = !bound;
  }
  markAll(wire.length - 1);
  return marks;
}

function operatorAction(step: string): OperatorAction[] {
  return OPERATOR_ACTIONS.filter((action) => action === step);
}

/**
 * A driver that goes gives its balloon back first: a deflate buffer although the balloon is not
 * above its target, and not the second half of a page's migration (inflate and deflate, no write
 * of `actual` between). With an empty balloon the reset is all there is.
 */
function findLeaving(wire: readonly WireEvent[], from: number): number {
  let target = 0;
  let actual = 0;
  let migrating = false;
  return wire.findIndex((event, index) => {
    if (event.ev === 'target') target = event.num_pages;
    if (event.ev === 'config-set') {
      actual = event.actual;
      migrating = false;
    }
    if (event.ev === 'buf' && event.queue === 'inflate') migrating = true;
    if (index < from) return false;
    if (event.ev === 'status') return event.val === 0;
    return event.ev === 'buf' && event.queue === 'deflate' && actual <= target && !migrating;
  });
}

/** A driver that comes says so: ACKNOWLEDGE and DRIVER. */
function findComing(wire: readonly WireEvent[], from: number): number {
  return wire.findIndex((event, index) => {
    return index >= from && event.ev === 'status' && event.val === 3;
  });
}
