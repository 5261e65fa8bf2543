import {
  appendFileSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import { GuestStore, StoreError } from '../../../host/store/guest-store.ts';
import { KeepError, type KeptGuest } from '../../../host/vmm/guest-keeper.ts';
import { MAX_GUEST_PAGES, MAX_GUESTS } from '../../../shared/limits.ts';

vi.mock('node:fs', { spy: true });

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-store-'));
  path = join(directory, 'guests.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true }));

const record = (guest: string, targetBytes: number): KeptGuest => ({
  guest,
  epoch: 7,
  regions: [
    { start: 0, count: 524_288 },
    { start: 0x10_0000, count: 262_144 },
  ],
  targetBytes,
  pollingIntervalSeconds: 2,
  qomId: 'balloon0',
  properties: { ...DEFAULT_PROPERTIES, 'deflate-on-oom': true },
});

const linesOf = (file: string): string[] => readFileSync(file, 'utf8').trimEnd().split('\n');

describe('the store of a host', () => {
  it('gives back the last record of every guest after a restart', () => {
    const store = new GuestStore(path);
    store.put(record('vm0', 1));
    store.put(record('vm1', 2));
    store.put(record('vm0', 3));
    // No close: a killed host does not either.
    expect(new GuestStore(path).list()).toEqual([record('vm0', 3), record('vm1', 2)]);
  });

  it('keeps a guest without a target, one that departed, and one that came again', () => {
    const { targetBytes: _all, ...untouched } = record('vm0', 1);
    const gone: KeptGuest = { ...record('vm1', 2), departure: 'power-off' };
    const store = new GuestStore(path);
    for (const one of [
      untouched,
      gone,
      { ...record('vm2', 3), departure: 'guest-gone' as const },
    ]) {
      store.put(one);
    }
    store.put(record('vm2', 4));
    expect(new GuestStore(path).list()).toEqual([untouched, gone, record('vm2', 4)]);
  });

  it('has a record on the disk, and not in a cache, before it says so', () => {
    const store = new GuestStore(path);
    vi.mocked(fsyncSync).mockClear();
    let sizeBytes = 0;
    vi.mocked(fsyncSync).mockImplementationOnce(() => {
      sizeBytes = statSync(path).size;
    });
    store.put(record('vm0', 1));
    expect(fsyncSync).toHaveBeenCalledTimes(1);
    expect(sizeBytes).toBe(statSync(path).size);
    expect(sizeBytes).toBeGreaterThan(0);
  });

  it('is for the owner alone', () => {
    new GuestStore(path).close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('drops a last line that a kill tore, at whatever byte', () => {
    new GuestStore(path).put(record('vm0', 1));
    const whole = readFileSync(path, 'utf8');
    const next = `${JSON.stringify(record('vm0', 2))}\n`;
    for (let length = 1; length < next.length - 1; length += 7) {
      writeFileSync(path, whole);
      appendFileSync(path, next.slice(0, length));
      expect(new GuestStore(path).list()).toEqual([record('vm0', 1)]);
    }
  });

  it('takes a last line whose end alone is missing for whole', () => {
    new GuestStore(path).put(record('vm0', 1));
    appendFileSync(path, JSON.stringify(record('vm0', 2)));
    expect(new GuestStore(path).list()).toEqual([record('vm0', 2)]);
  });

  it.each([
    ['no JSON', 'not a record'],
    ['no record', '{"guest":"vm0"}'],
    ['a record with a field too many', JSON.stringify({ ...record('vm0', 1), more: 1 })],
  ])('refuses a file with %s in front of other lines, and leaves it alone', (_, line) => {
    const text = `${line}\n${JSON.stringify(record('vm0', 1))}\n`;
    writeFileSync(path, text);
    expect(() => new GuestStore(path)).toThrow(StoreError);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it.each([
    ['an id that is none', { guest: '../../vm0' }],
    ['more RAM than a guest may have', { regions: [{ start: 0, count: MAX_GUEST_PAGES + 1 }] }],
    ['a region beyond any PFN', { regions: [{ start: 2 ** 32, count: 1 }] }],
    [
      'regions that overlap',
      {
        regions: [
          { start: 0, count: 10 },
          { start: 9, count: 10 },
        ],
      },
    ],
    ['an interval that no timer has', { pollingIntervalSeconds: 2 ** 32 }],
  ])('refuses a record with %s, which no host has written', (_, fields) => {
    const text = `${JSON.stringify({ ...record('vm0', 1), ...fields })}\n`;
    writeFileSync(path, text);
    expect(() => new GuestStore(path)).toThrow(/: line 1 is no record; /);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });

  it.each(['a-token-that-is-kept-in-a-file-of-its-own', '{"version":1}', '\0\0\0'])(
    'does not empty another file that is given by mistake: %j',
    (text) => {
      writeFileSync(path, text);
      expect(() => new GuestStore(path)).toThrow(/: line 1 is no record; /);
      expect(readFileSync(path, 'utf8')).toBe(text);
    },
  );

  it('drops a first line that a kill tore, at whatever byte', () => {
    const line = JSON.stringify(record('vm0', 1));
    for (let length = 1; length < line.length; length += 7) {
      writeFileSync(path, line.slice(0, length));
      expect(new GuestStore(path).list()).toEqual([]);
    }
  });

  it('refuses a folder that is not there, in one line', () => {
    expect(() => new GuestStore(join(directory, 'none', 'store'))).toThrow(/^cannot use the store/);
  });
});

describe('the size of the store', () => {
  it('is one line a guest after a restart', () => {
    const store = new GuestStore(path);
    for (let target = 1; target <= 50; target++) store.put(record('vm0', target));
    expect(linesOf(path)).toHaveLength(50);
    new GuestStore(path).close();
    expect(linesOf(path)).toHaveLength(1);
  });

  it('does not grow by a record that says nothing new', () => {
    const store = new GuestStore(path);
    for (let count = 0; count < 5; count++) store.put(record('vm0', 1));
    expect(linesOf(path)).toHaveLength(1);
  });

  it('has a limit for guests that departed: the newest MAX_GUESTS', () => {
    const gone = (index: number): KeptGuest => ({
      ...record(`vm${index}`, 1),
      departure: 'power-off',
    });
    const all = Array.from({ length: MAX_GUESTS + 2 }, (_, index) => gone(index));
    // vm0 departed once more, after all others.
    const lines = [record('vm0', 1), ...all, record('vm0', 1), gone(0)];
    writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    const known = new GuestStore(path).list().map(({ guest }) => guest);
    expect(known).toHaveLength(MAX_GUESTS);
    expect(known.at(0)).toBe('vm3');
    expect(known.at(-1)).toBe('vm0');
  });

  it('has a limit while the host runs, then the file is written anew', () => {
    const store = new GuestStore(path, 10);
    for (let target = 1; target <= 9; target++) store.put(record('vm0', target));
    expect(linesOf(path)).toHaveLength(9);
    store.put(record('vm0', 10));
    expect(linesOf(path)).toHaveLength(1);
    store.put(record('vm1', 11));
    expect(new GuestStore(path).list()).toEqual([record('vm0', 10), record('vm1', 11)]);
  });
});

describe('a store that cannot be written', () => {
  it('refuses the record; the one before it counts', () => {
    const store = new GuestStore(path);
    store.put(record('vm0', 1));
    store.close();
    store.close();
    expect(() => store.put(record('vm0', 2))).toThrow(KeepError);
    expect(store.list()).toEqual([record('vm0', 1)]);
    expect(new GuestStore(path).list()).toEqual([record('vm0', 1)]);
  });

  it('overwrites what a failed write left, so that later lines are whole', () => {
    const store = new GuestStore(path);
    store.put(record('vm0', 1));
    // As a disk that filled up in the middle of a line leaves it.
    appendFileSync(path, '{"guest":"vm0","epo');
    store.put(record('vm0', 2));
    expect(linesOf(path)).toEqual([1, 2].map((target) => JSON.stringify(record('vm0', target))));
  });

  it('goes on in the old file when it cannot write a shorter one', () => {
    const store = new GuestStore(path, 3);
    mkdirSync(join(`${path}.new`, 'in the way'), { recursive: true });
    for (let target = 1; target <= 4; target++) store.put(record('vm0', target));
    expect(linesOf(path)).toHaveLength(4);
    rmSync(`${path}.new`, { recursive: true });
    for (let target = 5; target <= 6; target++) store.put(record('vm0', target));
    expect(linesOf(path)).toEqual([JSON.stringify(record('vm0', 6))]);
  });

  it('does not damage the file when it cannot write it anew', () => {
    new GuestStore(path).put(record('vm0', 1));
    const text = readFileSync(path, 'utf8');
    mkdirSync(`${path}.new`);
    expect(() => new GuestStore(path)).toThrow(/^cannot use the store/);
    expect(readFileSync(path, 'utf8')).toBe(text);
  });
});
