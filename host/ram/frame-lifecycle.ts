import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';

/**
 * The life of one page frame as the host sees it. `inBalloon` marks the frames that count as the
 * balloon. A frame that is only `reported` belongs to the guest: the host threw its content away
 * once and cannot see when the guest touches it again (D7).
 */
export const frameMachine = setup({}).createMachine({
  id: 'host_frame',
  initial: 'resident',
  states: {
    resident: {
      description: "The guest's own: the host keeps its content.",
      on: { inflate: 'ballooned', report: 'reported' },
    },
    ballooned: {
      description: 'Named on the inflate queue, content not thrown away yet.',
      tags: 'inBalloon',
      on: { discard: 'discarded', deflate: 'resident' },
    },
    discarded: {
      description: 'In the balloon, content thrown away.',
      tags: 'inBalloon',
      on: { deflate: 'resident' },
    },
    reported: {
      description: 'Free in the guest when it was reported, content thrown away then.',
      on: { inflate: 'ballooned', report: 'reported' },
    },
  },
});

/** A zeroed ledger means that everything is resident. */
export const FRAME_STATE = {
  resident: 0,
  ballooned: 1,
  discarded: 2,
  reported: 3,
} as const satisfies Record<StateValueFrom<typeof frameMachine>, number>;
export type FrameState = keyof typeof FRAME_STATE;

export const FRAME_EVENT = { inflate: 0, deflate: 1, discard: 2, report: 3 } as const;

export const frameTable = compileLifecycle(frameMachine, {
  states: FRAME_STATE,
  events: FRAME_EVENT,
});
