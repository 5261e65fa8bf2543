import { describe, expect, test } from 'vitest';
import { drawPageMap, legend } from '../../../lab/fragmentation/page-map-text.ts';
import type { PageMapView } from '../../../shared/control/schemas.ts';

/** 4 MiB in cells of 512 KiB, four to a pageblock: every kind once pure and some mixed. */
const VIEW: PageMapView = {
  cellPages: 128,
  regions: [
    {
      startPfn: 0,
      pageCount: 1024,
      free: [128, 65, 0, 0, 30, 128, 128, 0],
      balloon: [0, 63, 128, 100, 0, 0, 0, 0],
      movable: [0, 0, 0, 28, 98, 0, 0, 0],
      unmovable: [0, 0, 0, 0, 0, 0, 0, 127],
      reserved: [0, 0, 0, 0, 0, 0, 0, 1],
    },
  ],
};
const plain = (columns: number) => ({ columns, colour: false });

describe('a map without colour', () => {
  test('is a character a cell, a capital where nothing else is in it', () => {
    expect(drawPageMap(VIEW, plain(80))).toBe('    0M .,Bbm..u\n');
  });

  test('keeps pageblocks whole and within the width', () => {
    expect(drawPageMap(VIEW, plain(15))).toBe('    0M .,Bb\n    2M m..u\n');
    expect(drawPageMap(VIEW, plain(12))).toBe('    0M .,Bb\n    2M m..u\n');
  });

  test('still draws where not even a pageblock fits', () => {
    expect(drawPageMap(VIEW, plain(10)).split('\n')[0]).toBe('    0M .,');
    expect(drawPageMap(VIEW, plain(1)).split('\n')).toHaveLength(9);
  });

  test('has a line for each piece of RAM, and its legend names every sign', () => {
    const [low] = VIEW.regions;
    const split = { ...VIEW, regions: [low, { ...low, startPfn: 0x100000 }] };
    expect(drawPageMap(split, plain(80))).toContain(' 4096M .,Bbm..u\n');
    const text = legend(VIEW, plain(80));
    expect(text).toContain('. , free   B b balloon   M m in use, movable');
    expect(text).toContain('a cell is 512K');
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(90);
    expect(drawPageMap(VIEW, plain(80)) + text).not.toContain('\x1b');
  });
});

describe('a map in colour', () => {
  test('puts two rows in a line: half blocks with a colour above and one below', () => {
    const [first, ...rest] = drawPageMap(VIEW, { columns: 12, colour: true }).trim().split('\n');
    expect(rest).toEqual([]);
    expect(first.match(/▀/g)).toHaveLength(4);
    expect(first).toContain('\x1b[38;5;235m\x1b[48;5;110m▀');
    expect(first.endsWith('\x1b[0m')).toBe(true);
  });

  test('has nothing behind a last row that stands alone', () => {
    const map = drawPageMap(VIEW, { columns: 80, colour: true });
    expect(map.split('\x1b[49m▀')).toHaveLength(1 + 8);
  });
});
