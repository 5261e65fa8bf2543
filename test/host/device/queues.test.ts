import { describe, expect, it } from 'vitest';
import { writePfns } from '../../../shared/protocol/bodies.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { LIVE, ScriptedDriver } from './scripted-driver.ts';

const BODY = writePfns([1]);
const NOTHING = new Uint8Array(0);

function errorOf(action: () => void): string {
  try {
    action();
  } catch (error) {
    if (error instanceof ProtocolError) return error.code;
    throw error;
  }
  return 'none';
}

describe('queues of the device', () => {
  it('G82: take no buffer before they are enabled', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    expect(errorOf(() => driver.inflate(1))).toBe('bad-queue');
    expect(driver.ledger.balloonPages).toBe(0);
  });

  it('are no more than the offer has', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    expect(errorOf(() => driver.send([Op.queue, 3, 128]))).toBe('bad-queue');
    expect(errorOf(() => driver.send([Op.avail, 3, 0, BODY, NOTHING]))).toBe('bad-queue');
  });

  it('G83: have a power of two of entries, up to the advertised maximum', () => {
    for (const size of [0, 3, 256, 65_535]) {
      const driver = new ScriptedDriver();
      driver.negotiate();
      driver.send([Op.queue, 0, size]);
      expect(driver.counters.get('queue-bad-size')).toBe(1);
      driver.status(LIVE);
      expect(errorOf(() => driver.inflate(1))).toBe('bad-queue');
    }
  });

  it('G83: may be smaller than advertised', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.send([Op.queue, 0, 2]);
    driver.status(LIVE);
    expect(errorOf(() => driver.send([Op.avail, 0, 1, BODY, NOTHING]))).toBe('none');
    expect(errorOf(() => driver.send([Op.avail, 0, 2, BODY, NOTHING]))).toBe('QUEUE_CREDIT');
  });

  it('stay as they are when they are enabled twice', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.send([Op.queue, 0, 2]);
    expect(driver.counters.get('queue-enabled-twice')).toBe(1);
    expect(errorOf(() => driver.send([Op.avail, 0, 100, BODY, NOTHING]))).toBe('none');
  });

  it('let no more buffers be in flight than they have entries', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.bringUp();
    driver.deflate(1);
    const more = Array.from({ length: 127 }, (_, index) => index + 1);
    for (const id of more) driver.send([Op.avail, 1, id, BODY, NOTHING]);
    expect(driver.device.buffersInFlight).toBe(128);
    expect(errorOf(() => driver.send([Op.avail, 1, 5, BODY, NOTHING]))).toBe('QUEUE_CREDIT');
  });

  it('let no id be in flight twice: the statistics buffer keeps its own', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    driver.send([Op.avail, 2, 7, NOTHING, NOTHING]);
    expect(errorOf(() => driver.send([Op.avail, 2, 7, NOTHING, NOTHING]))).toBe('QUEUE_CREDIT');
  });

  it('take an id again as soon as it was returned', () => {
    const driver = new ScriptedDriver();
    driver.bringUp();
    for (let round = 0; round < 1000; round++) driver.send([Op.avail, 0, 7, BODY, NOTHING]);
    expect(driver.counters.get('inflate_buffers')).toBe(1000);
  });

  it('X4: are numbered over the offered features', () => {
    const reporting = { 'free-page-reporting': true };
    expect(new ScriptedDriver({ properties: reporting }).queues).toEqual([
      'inflate',
      'deflate',
      'stats',
      'reporting',
    ]);
    const all = { ...reporting, 'free-page-hint': true };
    expect(new ScriptedDriver({ properties: all }).queues[4]).toBe('reporting');
  });

  it('G05: see buffers before DRIVER_OK as QEMU does, and count them', () => {
    const driver = new ScriptedDriver();
    driver.negotiate();
    driver.enableQueues();
    const id = driver.inflate(1);
    expect(driver.news().at(-1)).toEqual(driver.used('inflate', id));
    expect(driver.counters.get('buffer-before-driver-ok')).toBe(1);
  });

  it('G05: of a strict device consume nothing before DRIVER_OK', () => {
    const driver = new ScriptedDriver({ strict: true });
    driver.negotiate();
    driver.enableQueues();
    driver.inflate(1);
    expect(driver.sent.some(([op]) => op === Op.used || op === Op.discard)).toBe(false);
    expect(driver.ledger.balloonPages).toBe(0);
  });
});
