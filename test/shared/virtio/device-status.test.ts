import { describe, expect, it } from 'vitest';
import {
  ACKNOWLEDGE,
  classifyStatusWrite,
  DEVICE_NEEDS_RESET,
  DRIVER,
  DRIVER_OK,
  FAILED,
  FEATURES_OK,
  STATUS_EVENT,
  STATUS_STATE,
  SUSPEND,
  statusAllows,
  statusMachine,
  statusState,
  statusTable,
} from '../../../shared/virtio/device-status.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

/** Writes one value after the other and returns what the device shows after each. */
function writeAll(values: readonly number[], start = 0): (number | string)[] {
  const shown: (number | string)[] = [];
  let status = start;
  for (const value of values) {
    const result = classifyStatusWrite(status, value);
    shown.push(result);
    if (typeof result === 'number') status = result;
  }
  return shown;
}

const LIVE = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;

describe('the device status', () => {
  it('is compiled to a table that equals its state machine', () => {
    expectTableEqualsMachine(statusMachine, statusTable);
  });

  it('has the bits of the specification', () => {
    const bits = [ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, SUSPEND, DEVICE_NEEDS_RESET, FAILED];
    expect(bits).toEqual([1, 2, 4, 8, 16, 64, 128]);
  });

  it('G29: follows what Linux writes when it boots, unbinds and binds', () => {
    const recorded = [0, 1, 3, 11, 15, 0, 1, 3, 11, 15];
    expect(writeAll(recorded)).toEqual(recorded);
  });

  it('lets a value be written again', () => {
    const repeated = [0, 0, 1, 1, 3, 3, 11, 11, 15, 15];
    expect(writeAll(repeated)).toEqual(repeated);
  });

  it('G20, G87: writing 0 resets from every status', () => {
    for (let status = 0; status < 256; status++) expect(classifyStatusWrite(status, 0)).toBe(0);
  });
});

describe('a wrong write of the device status', () => {
  it('G02: clears a bit', () => {
    expect(writeAll([1, 3, 1])).toEqual([1, 3, 'cleared-bit']);
    expect(classifyStatusWrite(LIVE, LIVE & ~FEATURES_OK)).toBe('cleared-bit');
    expect(classifyStatusWrite(LIVE, FAILED)).toBe('cleared-bit');
  });

  it.each([
    ['ACKNOWLEDGE', 0, DRIVER],
    ['the write of ACKNOWLEDGE alone', 0, ACKNOWLEDGE | DRIVER],
    ['DRIVER', 1, ACKNOWLEDGE | FEATURES_OK],
    ['FEATURES_OK', 3, ACKNOWLEDGE | DRIVER | DRIVER_OK],
    ['the re-read of FEATURES_OK', 3, LIVE],
    ['everything', 0, LIVE],
  ])('G01, G29: skips %s', (_what, status, written) => {
    expect(classifyStatusWrite(status, written)).toBe('skipped-step');
  });

  it('G15, G32: goes on although the device left FEATURES_OK clear', () => {
    expect(classifyStatusWrite(3, 11)).toBe(11);
    expect(classifyStatusWrite(3, LIVE)).toBe('skipped-step');
    expect(classifyStatusWrite(3, 3 | FAILED)).toBe(3 | FAILED);
  });

  it('G03: anything but a reset after FAILED', () => {
    for (const status of [0, 1, 3, 11, LIVE]) {
      const failed = status | FAILED;
      expect(classifyStatusWrite(status, failed)).toBe(failed);
      expect(classifyStatusWrite(failed, failed)).toBe(failed);
      expect(classifyStatusWrite(failed, ACKNOWLEDGE)).toBe('after-failed');
      expect(classifyStatusWrite(failed, LIVE | FAILED)).toBe(
        status === LIVE ? failed : 'after-failed',
      );
      expect(classifyStatusWrite(failed, 0)).toBe(0);
    }
  });

  it('sets DEVICE_NEEDS_RESET, which only the device may', () => {
    expect(classifyStatusWrite(LIVE, LIVE | DEVICE_NEEDS_RESET)).toBe('device-status-bit');
  });

  it('G39, G45: sets SUSPEND, which is not offered', () => {
    expect(classifyStatusWrite(LIVE, LIVE | SUSPEND)).toBe('suspend-not-offered');
  });

  it.each([32, 1 | 32, 256, -1, 1.5, Number.NaN])('holds what is no status bit: %d', (written) => {
    expect(classifyStatusWrite(0, written)).toBe('unknown-status-bit');
  });
});

describe('G06: a device that needs a reset', () => {
  const broken = LIVE | DEVICE_NEEDS_RESET;

  it('keeps the bit whether the driver writes it or not', () => {
    expect(classifyStatusWrite(broken, broken)).toBe(broken);
    expect(classifyStatusWrite(broken, LIVE)).toBe(broken);
    expect(classifyStatusWrite(broken, broken | FAILED)).toBe(broken | FAILED);
  });

  it('lets a driver that has not noticed yet go on, without becoming live', () => {
    const status = classifyStatusWrite(11 | DEVICE_NEEDS_RESET, LIVE);
    expect(status).toBe(broken);
    expect(statusState(broken)).toBe('needsReset');
    expect(statusAllows(broken, 'buffers')).toBe(false);
  });

  it('is well again after a reset', () => {
    expect(writeAll([0, 1, 3, 11, 15], broken)).toEqual([0, 1, 3, 11, 15]);
  });
});

describe('the status byte and the table', () => {
  it('agree: an accepted write leads to the state of the byte it leaves', () => {
    const added: Record<number, keyof typeof STATUS_EVENT> = {
      0: 'repeat',
      [ACKNOWLEDGE]: 'acknowledge',
      [DRIVER]: 'driver',
      [DRIVER_OK]: 'driverOk',
      [FEATURES_OK]: 'featuresOk',
      [FAILED]: 'fail',
    };
    const reached = new Set([0]);
    let acceptedWrites = 0;
    for (const status of reached) {
      reached.add(status | DEVICE_NEEDS_RESET);
      for (let written = 0; written < 256; written++) {
        const next = classifyStatusWrite(status, written);
        if (typeof next === 'string') continue;
        acceptedWrites++;
        reached.add(next);
        const event = written === 0 ? 'reset' : added[next & ~status];
        expect(event, `${status} then ${written}`).toBeDefined();
        const from = STATUS_STATE[statusState(status)];
        const to = statusTable.step(from, STATUS_EVENT[event ?? 'repeat']);
        expect(statusTable.stateNames[to], `${status} then ${written}`).toBe(statusState(next));
      }
    }
    expect(acceptedWrites).toBeGreaterThan(100);
    expect(new Set([...reached].map(statusState))).toEqual(new Set(Object.keys(STATUS_STATE)));
  });

  it.each([
    ['features', [3]],
    ['queues', [11, 15]],
    ['config', [11, 15, 15 | DEVICE_NEEDS_RESET]],
    ['buffers', [15]],
  ] as const)('G05, G30, G31, G34: %s are allowed in %j only', (what, allowed) => {
    const bytes = [0, 1, 3, 11, 15, 15 | DEVICE_NEEDS_RESET, 15 | FAILED, 3 | FAILED];
    expect(bytes.filter((status) => statusAllows(status, what))).toEqual([...allowed]);
  });

  it('take a byte that skipped a step for the furthest step it has a bit of', () => {
    expect(statusState(ACKNOWLEDGE | DRIVER | DRIVER_OK)).toBe('live');
    expect(statusState(FEATURES_OK)).toBe('negotiated');
    expect(statusState(DRIVER)).toBe('driverKnown');
    expect(statusState(SUSPEND)).toBe('acknowledged');
  });
});
