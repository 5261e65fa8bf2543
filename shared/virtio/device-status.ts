import { setup } from 'xstate';
import { compileLifecycle } from '../lifecycle/compile.ts';

/**
 * The device status byte. Its sequence is a state machine; the byte itself is the state, with the
 * bits FAILED and DEVICE_NEEDS_RESET in front of all others. The device half asks
 * `classifyStatusWrite` about each write and decides itself what it tolerates.
 *
 * Not covered: the legacy sequence without FEATURES_OK (G35), and suspend (G39 to G51), because
 * VIRTIO_F_SUSPEND is never offered.
 */
export const ACKNOWLEDGE = 1;
export const DRIVER = 2;
export const DRIVER_OK = 4;
export const FEATURES_OK = 8;
export const SUSPEND = 16;
export const DEVICE_NEEDS_RESET = 64;
export const FAILED = 128;

/** Events are what a write adds to the byte; `deviceBroke` is the device's own (G06). */
export const statusMachine = setup({}).createMachine({
  id: 'device_status',
  initial: 'reset',
  states: {
    reset: {
      description: 'Status 0: no notifications, no queue access (G21).',
      on: {
        reset: 'reset',
        repeat: 'reset',
        acknowledge: 'acknowledged',
        fail: 'failed',
        deviceBroke: 'needsReset',
      },
    },
    acknowledged: {
      description: 'The guest has noticed the device; Linux leaves an unbound device here.',
      on: {
        reset: 'reset',
        repeat: 'acknowledged',
        driver: 'driverKnown',
        fail: 'failed',
        deviceBroke: 'needsReset',
      },
    },
    driverKnown: {
      description: 'Features are read and the accepted subset is written (G29 step 4).',
      tags: ['features'],
      on: {
        reset: 'reset',
        repeat: 'driverKnown',
        featuresOk: 'negotiated',
        fail: 'failed',
        deviceBroke: 'needsReset',
      },
    },
    negotiated: {
      description: 'Features are fixed (G31); queues are set up, config may be written (step 7).',
      tags: ['queues', 'config'],
      on: {
        reset: 'reset',
        repeat: 'negotiated',
        driverOk: 'live',
        fail: 'failed',
        deviceBroke: 'needsReset',
      },
    },
    live: {
      description: 'The device may consume buffers (G05).',
      tags: ['queues', 'config', 'buffers'],
      on: { reset: 'reset', repeat: 'live', fail: 'failed', deviceBroke: 'needsReset' },
    },
    needsReset: {
      description:
        'The device cannot go on. A driver that has not noticed yet goes on with its sequence; ' +
        'nothing it sets has an effect until it resets.',
      tags: ['config'],
      on: {
        reset: 'reset',
        repeat: 'needsReset',
        acknowledge: 'needsReset',
        driver: 'needsReset',
        featuresOk: 'needsReset',
        driverOk: 'needsReset',
        fail: 'failed',
        deviceBroke: 'needsReset',
      },
    },
    failed: {
      description: 'The driver gave up; only a reset helps (G03).',
      on: { reset: 'reset', repeat: 'failed', deviceBroke: 'failed' },
    },
  },
});

export const STATUS_STATE = {
  reset: 0,
  acknowledged: 1,
  driverKnown: 2,
  negotiated: 3,
  live: 4,
  needsReset: 5,
  failed: 6,
} as const;
export type StatusState = keyof typeof STATUS_STATE;

export const STATUS_EVENT = {
  reset: 0,
  repeat: 1,
  acknowledge: 2,
  driver: 3,
  featuresOk: 4,
  driverOk: 5,
  fail: 6,
  deviceBroke: 7,
} as const;

export const statusTable = compileLifecycle(statusMachine, {
  states: STATUS_STATE,
  events: STATUS_EVENT,
});

/** What is wrong with a write, most telling first. */
export type StatusViolation =
  /** Bit 5 or a number that is no byte. */
  | 'unknown-status-bit'
  /** SUSPEND without VIRTIO_F_SUSPEND (G39); a device ignores it (G45). */
  | 'suspend-not-offered'
  /** DEVICE_NEEDS_RESET, which only the device sets. */
  | 'device-status-bit'
  /** Anything but a reset once FAILED is set (G03). */
  | 'after-failed'
  /** A bit is missing that was set (G02). */
  | 'cleared-bit'
  /** A step of G29 is left out, taken together with another, or out of order (G01). */
  | 'skipped-step';

const EVENT_OF_BIT: ReadonlyMap<number, number> = new Map([
  [0, STATUS_EVENT.repeat],
  [ACKNOWLEDGE, STATUS_EVENT.acknowledge],
  [DRIVER, STATUS_EVENT.driver],
  [FEATURES_OK, STATUS_EVENT.featuresOk],
  [DRIVER_OK, STATUS_EVENT.driverOk],
  [FAILED, STATUS_EVENT.fail],
]);

/** The complete bytes of a sequence that is going well. */
const STATE_OF_STATUS: ReadonlyMap<number, StatusState> = new Map([
  [0, 'reset'],
  [ACKNOWLEDGE, 'acknowledged'],
  [ACKNOWLEDGE | DRIVER, 'driverKnown'],
  [ACKNOWLEDGE | DRIVER | FEATURES_OK, 'negotiated'],
  [ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK, 'live'],
]);

/**
 * The state a status byte stands for. A byte that a tolerant device stored after a skipped step
 * (the legacy 7, say) counts as the furthest step it has a bit of.
 */
export function statusState(status: number): StatusState {
  if ((status & FAILED) !== 0) return 'failed';
  if ((status & DEVICE_NEEDS_RESET) !== 0) return 'needsReset';
  const state = STATE_OF_STATUS.get(status);
  if (state !== undefined) return state;
  if ((status & DRIVER_OK) !== 0) return 'live';
  if ((status & FEATURES_OK) !== 0) return 'negotiated';
  return (status & DRIVER) !== 0 ? 'driverKnown' : 'acknowledged';
}

/**
 * What the driver may do in this status: write `features` (G29 step 4, G31), set up `queues`,
 * write `config` (G30), have `buffers` consumed (G05, G34).
 */
export function statusAllows(
  status: number,
  what: 'features' | 'queues' | 'config' | 'buffers',
): boolean {
  return statusTable.hasTag(STATUS_STATE[statusState(status)], what);
}

/**
 * Judges a driver's write of the status byte: the new status, or what is wrong with it. Writing 0
 * is a reset in every state (G20, G87). The new status of an accepted FEATURES_OK still has to be
 * confirmed by the device, which stores it without the bit where it refuses the subset (G15).
 *
 * DEVICE_NEEDS_RESET is kept whatever is written: a driver that writes while the device sets it
 * cannot know of it yet.
 */
export function classifyStatusWrite(current: number, written: number): number | StatusViolation {
  if (written === 0) return 0;
  const known =
    ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | SUSPEND | DEVICE_NEEDS_RESET | FAILED;
  if (!Number.isInteger(written) || (written & ~known) !== 0) return 'unknown-status-bit';
  if ((written & SUSPEND) !== 0) return 'suspend-not-offered';
  const next = written | (current & DEVICE_NEEDS_RESET);
  if ((next & ~current & DEVICE_NEEDS_RESET) !== 0) return 'device-status-bit';
  if ((current & FAILED) !== 0 && next !== current) return 'after-failed';
  if ((current & ~next) !== 0) return 'cleared-bit';
  const event = EVENT_OF_BIT.get(next & ~current);
  if (event === undefined) return 'skipped-step';
  return statusTable.can(STATUS_STATE[statusState(current)], event) ? next : 'skipped-step';
}
