import { describe, expect, it } from 'vitest';
import {
  FRAME_EVENT,
  FRAME_STATE,
  frameMachine,
  frameTable,
} from '../../../host/ram/frame-lifecycle.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

describe('the lifecycle of a host frame', () => {
  it('is the same as state machine and as table', () => {
    expectTableEqualsMachine(frameMachine, frameTable);
  });

  it('starts resident, which is what a zeroed ledger means', () => {
    expect(frameTable.initial).toBe(0);
    expect(FRAME_STATE.resident).toBe(0);
  });

  it('counts a frame as the balloon from inflation to deflation', () => {
    let state = frameTable.initial;
    const inBalloon = (): boolean => frameTable.hasTag(state, 'inBalloon');
    expect(inBalloon()).toBe(false);
    state = frameTable.step(state, FRAME_EVENT.inflate);
    expect(inBalloon()).toBe(true);
    state = frameTable.step(state, FRAME_EVENT.discard);
    expect(inBalloon()).toBe(true);
    state = frameTable.step(state, FRAME_EVENT.deflate);
    expect(inBalloon()).toBe(false);
  });

  it('D7: leaves a reported frame with the guest', () => {
    const reported = frameTable.step(FRAME_STATE.resident, FRAME_EVENT.report);
    expect(frameTable.hasTag(reported, 'inBalloon')).toBe(false);
    expect(frameTable.can(reported, FRAME_EVENT.deflate)).toBe(false);
    expect(frameTable.step(reported, FRAME_EVENT.inflate)).toBe(FRAME_STATE.ballooned);
  });
});
