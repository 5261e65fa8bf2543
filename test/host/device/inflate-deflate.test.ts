import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MAX_BODY_BYTES, MAX_BUFFER_PFNS, MAX_PAYLOAD_BYTES } from '../../../shared/limits.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { discarded, ScriptedDriver } from './scripted-driver.ts';

const live = (options?: ConstructorParameters<typeof ScriptedDriver>[0]): ScriptedDriver => {
  const driver = new ScriptedDriver(options);
  driver.bringUp();
  return driver;
};

describe('inflation', () => {
  it('N20: throws contents away before it acknowledges, and the length used is 0', () => {
    const driver = live();
    const id = driver.inflate(9, 8, 7);
    const [discard, used, ...rest] = driver.news();
    expect(discarded(discard)).toEqual([7, 8, 9]);
    expect(used).toEqual([Op.used, 0, id, 0]);
    expect(rest).toEqual([]);
    expect(driver.ledger.stateOf(8)).toBe('discarded');
  });

  it('joins the runs of a batch as Linux tells it into few ranges', () => {
    const driver = live();
    const down = Array.from({ length: 100 }, (_, index) => 0x1063 - index);
    driver.inflate(...down, 20, 21, 22);
    const [discard] = driver.news();
    expect(discard?.[1]).toHaveLength(2 * 8);
    expect(driver.counters.get('discarded_pages')).toBe(103);
  });

  it('takes one page, as balloon migration tells it', () => {
    const driver = live();
    driver.inflate(5);
    const migrated = driver.inflate(6);
    const old = driver.deflate(5);
    expect(driver.news().filter(([op]) => op === Op.used)).toEqual([
      [Op.used, 0, 0, 0],
      driver.used('inflate', migrated),
      driver.used('deflate', old),
    ]);
    expect(driver.ledger.compareBalloon([6])).toMatchObject({ missing: 0, surplus: 0 });
  });

  it('takes 512 pages at once, as Windows’ driver sends them', () => {
    const driver = live();
    const low = Array.from({ length: 256 }, (_, pfn) => pfn);
    driver.inflate(...low, ...low.map((pfn) => 0x1000 + pfn));
    expect(driver.ledger.balloonPages).toBe(512);
    expect(driver.counters.get('inflate_buffers')).toBe(1);
  });

  it('splits a discard that one message cannot hold', () => {
    const driver = live({ regions: [{ start: 0, count: 2 * MAX_BUFFER_PFNS }] });
    const scattered = Array.from({ length: MAX_BUFFER_PFNS }, (_, index) => 2 * index);
    driver.inflate(...scattered);
    const discards = driver.news().filter(([op]) => op === Op.discard);
    expect(discards.length).toBeGreaterThan(1);
    expect(discards.flatMap(discarded)).toEqual(scattered);
    for (const message of discards) {
      expect(encode(message).length).toBeLessThanOrEqual(MAX_PAYLOAD_BYTES);
      expect((message[1] as Uint8Array).length).toBeLessThanOrEqual(MAX_BODY_BYTES);
    }
  });

  it('skips a frame outside RAM and acknowledges (virtio_balloon_bad_addr)', () => {
    const driver = live();
    const id = driver.inflate(0x900, 3, 0xffff_ffff);
    const [discard, used] = driver.news();
    expect(discarded(discard)).toEqual([3]);
    expect(used).toEqual(driver.used('inflate', id));
    expect(driver.counters.get('pfn-out-of-ram')).toBe(2);
  });

  it('H1: tolerates a frame inflated twice, counts it and throws it away again', () => {
    const driver = live();
    driver.inflate(3, 3);
    driver.news();
    driver.inflate(3);
    expect(discarded(driver.news()[0])).toEqual([3]);
    expect(driver.counters.get('inflated-twice')).toBe(2);
    expect(driver.counters.get('inflated_pages')).toBe(1);
    expect(driver.ledger.balloonPages).toBe(1);
  });
});

describe('deflation', () => {
  it('N14: is acknowledged, and nothing is thrown away', () => {
    const driver = live();
    driver.inflate(1, 2);
    driver.news();
    const id = driver.deflate(2, 1);
    expect(driver.news()).toEqual([driver.used('deflate', id)]);
    expect(driver.ledger.balloonPages).toBe(0);
    expect(driver.counters.get('deflated_pages')).toBe(2);
  });

  it('H1: tolerates a frame that was not inflated, and counts it', () => {
    const driver = live();
    const id = driver.deflate(40, 0x900);
    expect(driver.news()).toEqual([driver.used('deflate', id)]);
    expect(driver.counters.get('deflated-without-inflation')).toBe(1);
    expect(driver.counters.get('pfn-out-of-ram')).toBe(1);
    expect(driver.ledger.count('resident')).toBe(512);
  });
});

describe('odd bodies', () => {
  it('D2: an empty list is acknowledged', () => {
    const driver = live();
    const id = driver.inflate();
    expect(driver.news()).toEqual([driver.used('inflate', id)]);
    expect(driver.counters.get('pfn-list-empty')).toBe(1);
  });

  it('D2: bytes after the last whole PFN are ignored', () => {
    const driver = live();
    driver.buffer('inflate', Uint8Array.of(5, 0, 0, 0, 6, 0));
    expect(discarded(driver.news()[0])).toEqual([5]);
    expect(driver.counters.get('pfn-list-cut')).toBe(1);
  });

  it('G58: a device-writable part is ignored', () => {
    const driver = live();
    const id = driver.buffer('deflate', new Uint8Array(4), new Uint8Array(12));
    expect(driver.news().at(-1)).toEqual(driver.used('deflate', id));
    expect(driver.counters.get('buffer-wrong-direction')).toBe(1);
  });
});

describe('a strict device', () => {
  it('N20: throws nothing away and acknowledges nothing of a refused buffer', () => {
    const driver = live({ strict: true });
    driver.inflate(3, 3);
    expect(driver.news().map(([op]) => op)).toEqual([Op.statusValue, Op.config]);
    expect(driver.ledger.stateOf(3)).toBe('ballooned');
    driver.status(0);
    expect(driver.ledger.stateOf(3)).toBe('resident');
  });
});

describe('any traffic', () => {
  it('leaves exactly the frames in the balloon that were told last as inflated', () => {
    const pfn = fc.oneof(fc.integer({ min: 250, max: 260 }), fc.integer({ min: 0, max: 5 }));
    const step = fc.tuple(fc.boolean(), fc.array(pfn, { maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const driver = live();
        const inside = new Set<number>();
        for (const [isInflate, list] of steps) {
          const id = isInflate ? driver.inflate(...list) : driver.deflate(...list);
          for (const one of list.filter((frame) => frame < 256)) {
            if (isInflate) inside.add(one);
            else inside.delete(one);
          }
          const used = driver.used(isInflate ? 'inflate' : 'deflate', id);
          expect(driver.news().at(-1)).toEqual(used);
        }
        expect(driver.ledger.compareBalloon(inside)).toMatchObject({ missing: 0, surplus: 0 });
        expect(driver.device.buffersInFlight).toBe(0);
      }),
    );
  });
});
