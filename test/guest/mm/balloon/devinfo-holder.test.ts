import { beforeEach, describe, expect, it } from 'vitest';
import {
  balloonDevinfoAlloc,
  balloonDevinfoFree,
  type DevinfoHolder,
} from '../../../../guest/mm/balloon/devinfo-holder.ts';
import { GuestMemory } from '../../../../guest/mm/memory.ts';
import { MIB, PAGE_SIZE } from '../../../../shared/lib/units.ts';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../../../shared/virtio/balloon.ts';
import { HeldGuest } from '../../../support/held-guest.ts';
import { FakeHost } from '../../drivers/fake-host.ts';
import { pagesOf } from './pages-of.ts';

const OPTIONS = { adjustManagedPageCount: true };

let memory: GuestMemory;
let holder: DevinfoHolder;

beforeEach(() => {
  memory = GuestMemory.boot({ memoryBytes: 64 * MIB });
  holder = { vbDevInfo: undefined };
});

describe('balloon_devinfo_free', () => {
  it('clears its holder’s pointer', () => {
    const book = balloonDevinfoAlloc(holder, memory, OPTIONS);
    expect(holder.vbDevInfo).toBe(book);
    balloonDevinfoFree(holder);
    expect(holder.vbDevInfo).toBeUndefined();
  });

  it('is called once', () => {
    balloonDevinfoAlloc(holder, memory, OPTIONS);
    balloonDevinfoFree(holder);
    expect(() => balloonDevinfoFree(holder)).toThrow('a balloon_dev_info is freed once');
  });

  it('is not called while there are pages, on the list or isolated', () => {
    const book = balloonDevinfoAlloc(holder, memory, OPTIONS);
    const pfn = memory.allocator.allocBalloonPage();
    book.enqueue(pfn);
    const free = (): void => balloonDevinfoFree(holder);
    expect(free).toThrow('a balloon_dev_info is freed without pages');
    pagesOf(memory).isolate(pfn);
    expect(free).toThrow('a balloon_dev_info is freed without pages');
    expect(holder.vbDevInfo).toBe(book);
    pagesOf(memory).putback(pfn);
    book.releaseEach(Int32Array.of(book.dequeue()));
    free();
    expect(memory.verify()).toEqual([]);
  });

  it('makes room for a new one; two at a time a holder has not', () => {
    const first = balloonDevinfoAlloc(holder, memory, OPTIONS);
    expect(() => balloonDevinfoAlloc(holder, memory, OPTIONS)).toThrow(
      'a balloon device has one balloon_dev_info',
    );
    balloonDevinfoFree(holder);
    expect(balloonDevinfoAlloc(holder, memory, OPTIONS)).not.toBe(first);
  });
});

describe('the driver as holder', () => {
  it('has a book from probe to remove, and keeps it while it sleeps', () => {
    const held = new HeldGuest();
    const first = held.driver.book;
    expect(first).toBeDefined();
    held.guest.verb('suspend');
    held.run();
    held.guest.verb('resume');
    held.run();
    expect(held.driver.book).toBe(first);
    held.guest.verb('unbind');
    held.run();
    expect(held.driver.book).toBeUndefined();
    held.guest.verb('bind');
    held.run();
    expect(held.driver.book).toBeDefined();
    expect(held.driver.book).not.toBe(first);
  });

  it('gives it back with every page of it when the module goes', () => {
    const held = new HeldGuest();
    held.setTarget(200 * MIB);
    expect(held.driver.book?.length).toBe((56 * MIB) / PAGE_SIZE);
    held.guest.verb('rmmod');
    held.run(1000);
    expect([held.driver.numPages, held.driver.book]).toEqual([0, undefined]);
  });

  it('has none after a probe that failed', () => {
    const bits = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_FREE_PAGE_HINT];
    const host = new FakeHost(bits, [128, 128, 128, 1]);
    expect(host.kernel.core.state).toBe('unbound');
    expect(host.kernel.balloon.book).toBeUndefined();
  });
});
