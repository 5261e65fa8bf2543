import { describe, expect, it } from 'vitest';
import {
  RUN_EVENT,
  RUN_STATE,
  runStateMachine,
  runStateTable,
} from '../../../host/vmm/run-state.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

describe('the run state of a machine', () => {
  it('is the same as state machine and as table', () => {
    expectTableEqualsMachine(runStateMachine, runStateTable);
  });

  it('lets the clock run only while the machine runs', () => {
    const running = Object.values(RUN_STATE).filter((s) => runStateTable.hasTag(s, 'clockRuns'));
    expect(running).toEqual([RUN_STATE.running]);
  });

  it('leaves a paused machine paused when its guest powers on again', () => {
    expect(runStateTable.step(RUN_STATE.paused, RUN_EVENT.powerOn)).toBe(RUN_STATE.paused);
  });

  it('has no command that wakes a dead guest', () => {
    const dead = RUN_STATE['guest-panicked'];
    expect(runStateTable.can(dead, RUN_EVENT.cont)).toBe(false);
    expect(runStateTable.can(dead, RUN_EVENT.stop)).toBe(false);
  });
});
