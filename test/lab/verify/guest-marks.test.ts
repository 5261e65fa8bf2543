import { describe, expect, it } from 'vitest';
import { findHintRounds, findPrograms } from '../../../lab/verify/guest-marks.ts';
import { type Recording, readRecording } from '../../../lab/verify/recording.ts';
import type { WireEvent } from '../../../lab/verify/wire-lines.ts';
import type { QueueName } from '../../../shared/virtio/balloon.ts';

const buffer = (tMs: number, queue: QueueName): WireEvent => {
  return { ev: 'buf', tMs, queue, outn: 1, inn: 0, n: 1, runs: [] };
};
const get = (tMs: number): WireEvent => ({ ev: 'config-get', tMs, num_pages: 0, actual: 0 });
const set = (tMs: number, actual: number): WireEvent => ({ ev: 'config-set', tMs, actual });
const target = (tMs: number, pages: number): WireEvent => {
  return { ev: 'target', tMs, num_pages: pages };
};

const HOG = { name: 'hog', mib: 1 } as const;

function recording(wire: WireEvent[], options: Record<string, string>, runs = 1): Recording {
  const base = readRecording('lab/recordings/page-reporting-512m');
  return { ...base, wire, deviceOptions: options, programs: new Array(runs).fill(HOG) };
}

describe('a program of a recorded guest', () => {
  const doo = { 'deflate-on-oom': 'on' };

  it('shows by the first page the balloon gives back although nobody asked for it', () => {
    const wire = [
      target(0, 512),
      buffer(1, 'inflate'),
      set(2, 512),
      target(3, 256),
      buffer(4, 'deflate'),
      set(5, 256),
      buffer(2000, 'deflate'),
      set(2001, 128),
      buffer(2010, 'deflate'),
    ];
    const [mark, ...more] = findPrograms(recording(wire, doo));
    expect(mark).toEqual({ program: HOG, wireIndex: 6, shownBy: 'deflate' });
    expect(more).toEqual([]);
  });

  it('shows again when it is run again', () => {
    const wire = [10, 20, 30, 5000, 5010].map((tMs) => buffer(tMs, 'deflate'));
    const marks = findPrograms(recording(wire, doo, 2));
    expect(marks.map(({ wireIndex }) => wireIndex)).toEqual([0, 3]);
  });

  it('shows by a report that no earlier one led to, two seconds after its end', () => {
    const wire = [
      buffer(0, 'stats'),
      buffer(2020, 'reporting'),
      buffer(4040, 'reporting'),
      buffer(9000, 'reporting'),
      buffer(11_020, 'reporting'),
    ];
    const [mark] = findPrograms(recording(wire, { 'free-page-reporting': 'on' }));
    expect(mark).toEqual({ program: HOG, wireIndex: 3, shownBy: 'report' });
  });

  it('that shows nowhere is left out', () => {
    expect(findPrograms(recording([buffer(1, 'inflate')], doo))).toEqual([]);
  });

  it('is read from the steps of a recording', () => {
    const programs = (name: string) => readRecording(`lab/recordings/${name}`).programs;
    expect(programs('page-reporting-512m')).toEqual([{ name: 'hog', mib: 300 }]);
    expect(programs('deflate-on-oom-512m')).toEqual([{ name: 'hog', mib: 200 }]);
    expect(programs('out-of-puff-256m')).toEqual([]);
  });
});

describe('a round of hinting', () => {
  const hint = { 'free-page-hint': 'on' };
  const status: WireEvent = { ev: 'status', tMs: 0, val: 15 };

  it('shows by two reads of config that nothing else asked for', () => {
    const wire = [status, get(1), get(500), get(501), buffer(502, 'free_page'), get(900), get(901)];
    expect(findHintRounds(recording(wire, hint))).toEqual([500, 900]);
  });

  it('is not seen in what a target and the batches after it read', () => {
    const resize = [target(10, 300), get(11), get(12), set(13, 256), get(14), set(15, 300)];
    expect(findHintRounds(recording([status, get(1), ...resize], hint))).toEqual([]);
    const later = [...resize, get(500), get(501)];
    expect(findHintRounds(recording([status, get(1), ...later], hint))).toEqual([501]);
  });

  it('does not exist where the device has no hinting', () => {
    expect(findHintRounds(recording([get(1), get(2)], {}))).toEqual([]);
  });

  it('took place twice in the recorded migration', () => {
    const timesMs = findHintRounds(readRecording('lab/recordings/free-page-hint-512m'));
    expect(timesMs).toEqual([5652.866, 9979.524]);
  });
});
