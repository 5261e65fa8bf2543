import { type StateValueFrom, setup } from 'xstate';
import { compileLifecycle } from '../../shared/lifecycle/compile.ts';
import {
  QEMU_FREE_PAGE_HINT_CMD_ID_MIN,
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
} from '../../shared/virtio/balloon.ts';

/**
 * QEMU's side of free page hinting (free_page_hint_status). A migration starts a round after each
 * sync of its dirty bitmap, stops it before the next and is done with all of them at its end; the
 * driver's commands say when a round begins and when it has nothing more to hint.
 */
const hintStatusMachine = setup({}).createMachine({
  id: 'free_page_hint_status',
  initial: 'stop',
  states: {
    stop: {
      description: 'No round, or one that is over: the guest keeps what it hinted.',
      on: { start: 'requested', stop: 'stop', done: 'done', rightId: 'stop', otherId: 'stop' },
    },
    requested: {
      description: 'The config space shows the id of a round. A STOP may be of the one before.',
      on: {
        start: 'requested',
        stop: 'stop',
        done: 'done',
        rightId: 'start',
        otherId: 'requested',
      },
    },
    start: {
      description: 'The driver has taken the round up. Any command of it ends the round.',
      tags: ['takesHints'],
      on: { start: 'requested', stop: 'stop', done: 'done', rightId: 'stop', otherId: 'stop' },
    },
    done: {
      description: 'Hints are not needed any more: the guest may have its pages back.',
      on: { start: 'requested', stop: 'stop', done: 'done', rightId: 'done', otherId: 'done' },
    },
  },
});

export const HINT_STATUS = {
  stop: 0,
  requested: 1,
  start: 2,
  done: 3,
} as const satisfies Record<StateValueFrom<typeof hintStatusMachine>, number>;
export type HintStatus = keyof typeof HINT_STATUS;

const EVENT = { start: 0, stop: 1, done: 2, rightId: 3, otherId: 4 } as const;

/** What a controller can do with a round: what QEMU's migration does. */
export const HINT_ACTIONS = ['start', 'stop', 'done'] as const;
export type HintAction = (typeof HINT_ACTIONS)[number];

export const hintStatusLifecycle = {
  machine: hintStatusMachine,
  table: compileLifecycle(hintStatusMachine, { states: HINT_STATUS, events: EVENT }),
};
const { table } = hintStatusLifecycle;
const TAKES_HINTS = table.tagMask('takesHints');

export class HintRounds {
  #status: number = HINT_STATUS.stop;
  #id: number;

  /** `lastId` is that of the round before the first. */
  constructor(lastId = QEMU_FREE_PAGE_HINT_CMD_ID_MIN) {
    this.#id = lastId;
  }

  get status(): HintStatus {
    return table.stateNames[this.#status];
  }

  /** Id of the newest round; the first is 0x80000001. */
  get id(): number {
    return this.#id;
  }

  /** Hinted blocks count now: they came after the id of this round (N49). */
  get takesHints(): boolean {
    return ((TAKES_HINTS >>> this.#status) & 1) === 1;
  }

  /** free_page_hint_cmd_id of the config space: also STOP while the driver hints. */
  get shownId(): number {
    if (this.#status === HINT_STATUS.requested) return this.#id;
    if (this.#status === HINT_STATUS.done) return VIRTIO_BALLOON_CMD_ID_DONE;
    return VIRTIO_BALLOON_CMD_ID_STOP;
  }

  /** True when the driver is to be told. Every start is a new round with a new id (N48). */
  act(action: HintAction): boolean {
    const before = this.#status;
    this.#status = table.step(before, EVENT[action]);
    if (action !== 'start') return this.#status !== before;
    const isLast = this.#id === 0xffff_ffff;
    this.#id = isLast ? QEMU_FREE_PAGE_HINT_CMD_ID_MIN : this.#id + 1;
    return true;
  }

  /** The driver sent a command. True when it is the first with the id that was asked for. */
  command(id: number): boolean {
    const isRight = id === this.#id;
    const begins = isRight && this.#status === HINT_STATUS.requested;
    this.#status = table.step(this.#status, isRight ? EVENT.rightId : EVENT.otherId);
    return begins;
  }
}
