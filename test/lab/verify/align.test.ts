import { describe, expect, test } from 'vitest';
import { align } from '../../../lab/verify/align.ts';
import { balloonActual } from '../../../lab/verify/exchanges.ts';
import type { Recording } from '../../../lab/verify/recording.ts';
import { NAMES, recorded } from './recorded.ts';

describe.each(NAMES)('the clocks of %s', (name) => {
  const { alignment, recording, inputs, expectations } = recorded(name);

  test('every query-balloon reply equals the last actual on the wire', () => {
    expect(alignment.replies.consistent).toBe(alignment.replies.total);
    expect(alignment.replies.total).toBeGreaterThan(5);
  });

  test('the offset lies in its window and near what times alone say', () => {
    const [low, high] = alignment.windowMs;
    expect(low).toBeLessThanOrEqual(alignment.feasibleMs[0]);
    expect(high).toBeGreaterThanOrEqual(alignment.feasibleMs[1]);
    expect(alignment.offsetMs).toBe((alignment.feasibleMs[0] + alignment.feasibleMs[1]) / 2);
    expect(Math.abs(alignment.offsetMs - alignment.estimateMs)).toBeLessThan(0.3);
  });

  test('every target was logged while its request was under way', () => {
    const targets = recording.wire.filter((event) => event.ev === 'target');
    expect([...alignment.targetTimesMs.values()]).toEqual(targets.map((event) => event.tMs));
    const requests = recording.qmp.filter((line) => line.kind === 'request');
    for (const [request, targetMs] of alignment.targetTimesMs) {
      expect(requests[request].tMs - alignment.offsetMs).toBeLessThan(targetMs + 0.1);
    }
  });

  test('a BALLOON_CHANGE is stamped within 0.32 ms of a write of the value it carries', () => {
    const { wallOffsetMs = Number.NaN } = alignment;
    const changes = recording.qmp.filter((line) => line.kind === 'event' && line.name !== 'STOP');
    const sets = recording.wire.filter((event) => event.ev === 'config-set');
    let checked = 0;
    for (const line of changes) {
      if (line.kind !== 'event' || typeof line.data?.actual !== 'number') continue;
      const pages = (recording.memoryBytes - line.data.actual) / 4096;
      const near = sets.filter((set) => Math.abs(line.wallMs - wallOffsetMs - set.tMs) < 0.36);
      expect(near.map((set) => set.actual)).toContain(pages);
      checked++;
    }
    expect(checked).toBeGreaterThan(1);
  });

  test('at the time it is served each query sees the recorded actual', () => {
    const sets = recording.wire.filter((event) => event.ev === 'config-set');
    for (const { request, message } of expectations.replies) {
      const bytes = balloonActual(message);
      if (bytes === undefined) continue;
      const last = sets.findLast((set) => set.tMs <= inputs.qmp[request].timeMs);
      expect(recording.memoryBytes - (last?.actual ?? 0) * 4096).toBe(bytes);
    }
  });
});

describe('align', () => {
  test('finds a clock that was shifted by any amount', () => {
    const { recording, alignment } = recorded('inflate-deflate-1g');
    const qmp = recording.qmp.map((line) => ({ ...line, tMs: line.tMs + 5000 }));
    const shifted = align({ ...recording, qmp });
    expect(shifted.offsetMs).toBeCloseTo(alignment.offsetMs + 5000, 6);
    expect(shifted.wallOffsetMs).toBe(alignment.wallOffsetMs);
  });

  test('does not hide a wrong value: one reply changed is one reply inconsistent', () => {
    const { recording, alignment } = recorded('inflate-deflate-1g');
    const at = recording.qmp.findIndex(
      (line) => line.kind === 'reply' && balloonActual(line.message) === 999292928,
    );
    const qmp = recording.qmp.with(at, {
      kind: 'reply',
      tMs: recording.qmp[at].tMs,
      message: { return: { actual: 999292928 + 1048576 * 2 } },
    });
    const result = align({ ...recording, qmp });
    expect(result.replies).toEqual({ total: 21, consistent: 20 });
    expect(Math.abs(result.offsetMs - alignment.offsetMs)).toBeLessThan(0.2);
  });

  test('without targets and events takes the client to connect at DRIVER_OK', () => {
    const { recording } = recorded('inflate-deflate-1g');
    const bare: Recording = {
      ...recording,
      qmp: recording.qmp.slice(0, 1),
      wire: recording.wire.filter((event) => event.ev === 'status'),
    };
    const result = align(bare);
    expect(result.offsetMs).toBeCloseTo(0.1 - 2319.125, 9);
    expect(result.wallOffsetMs).toBeUndefined();
    expect(result.replies).toEqual({ total: 0, consistent: 0 });
  });
});
