import { describe, expect, it } from 'vitest';
import { HINT_BLOCK_ORDER } from '../../../guest/drivers/free-page-hinting.ts';
import { PAGE_STATE } from '../../../guest/mm/page/page-lifecycle.ts';
import type { HintAction } from '../../../host/device/hint-rounds.ts';
import { MIB, PAGE_SIZE } from '../../../shared/lib/units.ts';
import { readPfns, readWritable, writePfns } from '../../../shared/protocol/bodies.ts';
import { type GuestToHost, Op } from '../../../shared/protocol/messages.ts';
import {
  CONFIG_FREE_PAGE_HINT_CMD_ID,
  VIRTIO_BALLOON_CMD_ID_DONE,
  VIRTIO_BALLOON_CMD_ID_STOP,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../../shared/virtio/balloon.ts';
import { FAILED } from '../../../shared/virtio/device-status.ts';
import { featureBits } from '../../../shared/virtio/features.ts';
import { HeldGuest, type HeldGuestOptions } from '../../support/held-guest.ts';
import { FakeHost } from './fake-host.ts';

const BLOCK_PAGES = 1 << HINT_BLOCK_ORDER;
const FIRST_ID = 0x8000_0001;

const hintGuest = (options: HeldGuestOptions = {}): HeldGuest => {
  const properties = { 'free-page-hint': true, ...options.properties };
  return new HeldGuest({ ...options, properties });
};

const act = (held: HeldGuest, action: HintAction): void => {
  held.session.vmm.hint('vm0', action);
  held.run();
};

/** Buffers on the free page queue so far, by direction. */
const hints = (held: HeldGuest): string[] =>
  held.buffers('free_page').map(({ outn }) => (outn > 0 ? 'command' : 'block'));

/** Free blocks of the largest order in all zones. */
const freeBlocks = (held: HeldGuest): number =>
  held.guest.kernel.memory.allocator.zones.reduce((sum, zone) => sum + zone.nrFree[10], 0);

const verify = (held: HeldGuest): string[] => held.guest.kernel.memory.verify();

describe('a round of free page hinting', () => {
  it('is offered and accepted as bit 3', () => {
    expect(featureBits(hintGuest().guest.kernel.device.negotiated)).toEqual([1, 3, 32]);
  });

  it('N38, N40, N42: its id, every free block of 4 MiB, STOP', () => {
    const held = hintGuest();
    const count = freeBlocks(held);
    expect(count).toBeGreaterThan(40);
    act(held, 'start');
    expect(hints(held)).toEqual(['command', ...new Array(count).fill('block'), 'command']);
    expect(freeBlocks(held)).toBe(0);
    expect(held.driver.hintedPages).toBe(count * BLOCK_PAGES);
    expect(held.balloon.hints).toEqual({
      status: 'stop',
      id: FIRST_ID,
      hintedPages: count * BLOCK_PAGES,
    });
    expect(verify(held)).toEqual([]);
  });

  it('as recorded: a second round finds nothing while the first one’s blocks are held', () => {
    const held = hintGuest();
    act(held, 'start');
    const first = hints(held).length;
    act(held, 'start');
    expect(hints(held).slice(first)).toEqual(['command', 'command']);
    expect(held.balloon.hints).toMatchObject({ status: 'stop', id: FIRST_ID + 1 });
  });

  it('takes memory without waking kswapd or reclaiming, and leaves the low watermark', () => {
    const held = hintGuest();
    act(held, 'start');
    const { allocator } = held.guest.kernel.memory;
    expect(allocator.zones[1].freePages).toBeGreaterThan(allocator.zones[1].lowMark);
    expect(held.guest.kernel.vmstat.get('allocstall')).toBe(0);
  });

  it('D5: STOP keeps the blocks; N46: DONE gives all of them back', () => {
    const held = hintGuest();
    const count = freeBlocks(held);
    act(held, 'start');
    act(held, 'stop');
    expect(held.driver.hintedPages).toBe(count * BLOCK_PAGES);
    act(held, 'done');
    expect(held.driver.hintedPages).toBe(0);
    expect(freeBlocks(held)).toBe(count);
    expect(held.balloon.hints.hintedPages).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('N41: ends when the id changes: STOP, and the new round begins', () => {
    const held = hintGuest();
    held.session.vmm.hint('vm0', 'start');
    // Blocks go out one by one, and others run in between.
    held.guest.kernel.scheduler.spawn(
      'migration',
      (function* () {
        for (let turn = 0; turn < 5; turn++) yield 0;
        held.session.vmm.hint('vm0', 'start');
      })(),
    );
    held.run();
    const sent = hints(held);
    const stop = sent.indexOf('command', 1);
    expect(stop).toBeLessThan(20);
    expect(sent.slice(stop, stop + 2)).toEqual(['command', 'command']);
    expect(sent.slice(stop + 2, -1)).not.toContain('command');
    expect(held.balloon.hints).toMatchObject({ status: 'stop', id: FIRST_ID + 1 });
  });

  it('a new target in the middle ends it, since config space shows STOP then (as QEMU)', () => {
    const held = hintGuest();
    held.session.vmm.hint('vm0', 'start');
    held.guest.kernel.scheduler.spawn(
      'controller',
      (function* () {
        for (let turn = 0; turn < 5; turn++) yield 0;
        held.balloon.setTargetBytes(255 * MIB);
      })(),
    );
    held.run();
    expect(hints(held).length).toBeLessThan(20);
    expect(hints(held).at(-1)).toBe('command');
    expect(held.driver.numPages).toBe(256);
  });

  it('N43: memory that runs short takes blocks back before anything is killed', () => {
    const held = hintGuest();
    act(held, 'start');
    const heldBefore = held.driver.hintedPages;
    held.guest.run({ name: 'hog', mib: 100, seconds: 5 });
    held.run(1000);
    expect(held.guest.kernel.vmstat.get('oom_kill')).toBe(0);
    const released = heldBefore - held.driver.hintedPages;
    expect(released).toBeGreaterThan(20 * BLOCK_PAGES);
    expect(released % BLOCK_PAGES).toBe(0);
    held.run(10_000);
    expect(held.guest.kernel.processes.canariesWrong).toBe(0);
    expect(verify(held)).toEqual([]);
  });

  it('N44: leaves the content of the blocks to whoever has them next', () => {
    const held = hintGuest();
    const { pages } = held.guest.kernel.memory;
    pages.tags.fill(5);
    act(held, 'start');
    act(held, 'done');
    expect(pages.tags.every((tag) => tag === 5)).toBe(true);
    expect(held.session.vm('vm0').counters.get('discarded_pages')).toBe(0);
  });

  it('waits for no buffer to come back', () => {
    const held = hintGuest({ hold: true });
    act(held, 'start');
    expect(hints(held).at(-1)).toBe('command');
    expect(held.held.length).toBeGreaterThan(40);
  });

  it('gives its blocks back when the driver goes, and begins anew with it', () => {
    const held = hintGuest();
    const count = freeBlocks(held);
    act(held, 'start');
    held.guest.verb('unbind');
    held.run(10);
    expect(held.driver.hintedPages).toBe(0);
    expect(freeBlocks(held)).toBe(count);
    held.guest.verb('bind');
    held.run(10);
    act(held, 'start');
    expect(held.driver.hintedPages).toBe(count * BLOCK_PAGES);
    expect(held.balloon.hints.id).toBe(FIRST_ID + 1);
  });

  it('outlives a suspend in so far as an id that was seen is not taken for new', () => {
    const held = hintGuest();
    act(held, 'start');
    held.guest.verb('suspend');
    held.run(10);
    expect(held.driver.hintedPages).toBe(0);
    held.guest.verb('resume');
    held.run(10);
    const before = hints(held).length;
    act(held, 'start');
    expect(hints(held).length).toBeGreaterThan(before + 40);
  });

  it('is over when the host dies: a new host’s first round has the same id and is taken up', () => {
    const held = hintGuest();
    act(held, 'start');
    held.session.replaceHost();
    held.run(5000);
    expect(held.driver.hintedPages).toBe(0);
    act(held, 'start');
    expect(held.balloon.hints.id).toBe(FIRST_ID);
    expect(held.driver.hintedPages).toBeGreaterThan(40 * BLOCK_PAGES);
    expect(verify(held)).toEqual([]);
  });
});

describe('the driver’s buffers', () => {
  const bits = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_BALLOON_F_FREE_PAGE_HINT];

  const config = (id: number, generation: number): [number, Uint8Array] => {
    const bytes = new Uint8Array(16);
    bytes.set(writePfns([id]), CONFIG_FREE_PAGE_HINT_CMD_ID);
    return [generation, bytes];
  };

  const show = (host: FakeHost, id: number): void => {
    host.kernel.handle([Op.config, ...config(id, id & 0xff), true]);
    host.base.advanceBy(0);
  };

  const buffers = (host: FakeHost) =>
    host.sent.filter((message: GuestToHost) => message[0] === Op.avail && message[1] === 3);

  it('N37, N39: a command is 4 bytes: the id once, STOP; a block is one range of 4 MiB', () => {
    const host = new FakeHost(bits, [128, 128, 128, 1024]);
    show(host, 77);
    const sent = buffers(host).map((message) => message.slice(3) as Uint8Array[]);
    const commands = sent.filter(([readable]) => readable.length > 0);
    expect(commands.map(([readable]) => [...readPfns(readable)])).toEqual([
      [77],
      [VIRTIO_BALLOON_CMD_ID_STOP],
    ]);
    const blocks = sent.slice(1, -1).map(([, writable]) => readWritable(writable));
    const { states } = host.kernel.memory.pages;
    for (const [{ address, lengthBytes }, ...more] of blocks) {
      expect([address % lengthBytes, lengthBytes, more]).toEqual([0, 4 * MIB, []]);
      expect(states.stateOf(address / PAGE_SIZE)).toBe(PAGE_STATE.allocated);
    }
    expect(new Set(blocks.map(([{ address }]) => address)).size).toBe(blocks.length);
  });

  it('an id that was seen, or STOP, or DONE begins no round', () => {
    const host = new FakeHost(bits, [128, 128, 128, 1024]);
    for (const id of [VIRTIO_BALLOON_CMD_ID_STOP, VIRTIO_BALLOON_CMD_ID_DONE]) show(host, id);
    expect(buffers(host)).toHaveLength(0);
    show(host, 77);
    const count = buffers(host).length;
    show(host, 77);
    expect(buffers(host)).toHaveLength(count);
  });

  it('a full ring keeps a place for STOP: blocks beyond it are freed and tried again', () => {
    const host = new FakeHost(bits, [128, 128, 128, 8]);
    show(host, 77);
    host.base.advanceBy(100);
    expect(buffers(host)).toHaveLength(7);
    expect(host.kernel.balloon.hintedPages).toBe(6 * BLOCK_PAGES);
    const [, , id] = buffers(host)[0] as readonly [number, number, number];
    host.kernel.handle([Op.used, 3, id, 0]);
    host.base.advanceBy(100);
    expect(host.kernel.balloon.hintedPages).toBe(7 * BLOCK_PAGES);
    show(host, VIRTIO_BALLOON_CMD_ID_STOP);
    host.base.advanceBy(100);
    expect(buffers(host)).toHaveLength(9);
    expect(host.kernel.memory.verify()).toEqual([]);
  });

  it('needs a ring for an id and a block: with a smaller one the probe fails (ENOSPC)', () => {
    const host = new FakeHost(bits, [128, 128, 128, 1]);
    expect(host.status.at(-1)).toBe(11 | FAILED);
    expect(host.kernel.core.state).toBe('unbound');
  });
});
