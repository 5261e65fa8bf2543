import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bufferMachine,
  bufferTable,
  DeviceQueue,
  DriverQueue,
  isQueueSize,
} from '../../../shared/virtio/virtqueue.ts';
import { expectTableEqualsMachine } from '../../support/lifecycle-equivalence.ts';

function enabled(size: number): DeviceQueue {
  const queue = new DeviceQueue(size);
  expect(queue.enable(size)).toBeUndefined();
  return queue;
}

describe('the lifecycle of a queue buffer', () => {
  it('is compiled to a table that equals its state machine', () => {
    expectTableEqualsMachine(bufferMachine, bufferTable);
  });
});

describe('a queue size', () => {
  it('is a power of two up to 32768', () => {
    const sizes = [0, 1, 2, 3, 128, 129, 1024, 32_768, 65_536, -2, 1.5, Number.NaN];
    expect(sizes.filter(isQueueSize)).toEqual([1, 2, 128, 1024, 32_768]);
    expect(() => new DriverQueue(3)).toThrow('driver queue size is no power of two: 3');
    expect(() => new DeviceQueue(0)).toThrow('device queue size is no power of two: 0');
  });
});

describe('the half of the driver', () => {
  it('hands out each id once, lowest first, then says that it is full', () => {
    const queue = new DriverQueue(4);
    expect([1, 2, 3, 4, 5].map(() => queue.take())).toEqual([0, 1, 2, 3, -1]);
    expect(queue.inFlight).toBe(4);
    expect(queue.freeCount).toBe(0);
  });

  it('frees the id of a buffer that came back', () => {
    const queue = new DriverQueue(1);
    queue.take();
    expect(queue.take()).toBe(-1);
    expect(queue.complete(0)).toBe(true);
    expect(queue.inFlight).toBe(0);
    expect(queue.freeCount).toBe(1);
    expect(queue.take()).toBe(0);
  });

  it('hands out the id freed last first, as the split ring of Linux does', () => {
    const queue = new DriverQueue(4);
    for (let count = 0; count < 3; count++) queue.take();
    for (const id of [0, 2, 1]) queue.complete(id);
    expect([1, 2, 3, 4].map(() => queue.take())).toEqual([1, 2, 0, 3]);
  });

  it.each([-1, 4, 2 ** 16, 0.5])('takes a return of %d for the mistake of the device', (id) => {
    const queue = new DriverQueue(4);
    queue.take();
    expect(queue.complete(id)).toBe(false);
    expect(queue.inFlight).toBe(1);
  });

  it('takes a return of a buffer that is free or came back for the mistake of the device', () => {
    const queue = new DriverQueue(4);
    queue.take();
    expect(queue.complete(1)).toBe(false);
    expect(queue.complete(0)).toBe(true);
    expect(queue.complete(0)).toBe(false);
    expect(queue.freeCount).toBe(4);
  });

  it('starts over after a reset', () => {
    const queue = new DriverQueue(4);
    for (let count = 0; count < 3; count++) queue.take();
    queue.complete(1);
    queue.reset();
    expect(queue.inFlight).toBe(0);
    expect(queue.complete(0)).toBe(false);
    expect([1, 2, 3, 4].map(() => queue.take())).toEqual([0, 1, 2, 3]);
  });
});

describe('the half of the device', () => {
  it('G82: takes no buffer before the queue is enabled', () => {
    const queue = new DeviceQueue(4);
    expect(queue.accept(0)).toBe('not-enabled');
    expect(queue.size).toBe(0);
    expect(queue.inFlight).toBe(0);
    expect(queue.pop()).toBe(-1);
    expect(() => queue.use(0)).toThrow('a queue that is not enabled has no buffers: 0');
  });

  it('G83: is enabled with a power of two up to its maximum', () => {
    for (const size of [0, 3, 256, -4]) {
      expect(new DeviceQueue(128).enable(size)).toBe('queue-bad-size');
    }
    const queue = new DeviceQueue(128);
    expect(queue.enable(64)).toBeUndefined();
    expect(queue.enabled).toBe(true);
    expect(queue.size).toBe(64);
    expect(queue.enable(64)).toBe('queue-enabled-twice');
  });

  it('takes buffers in the order in which they were made available', () => {
    const queue = enabled(4);
    for (const id of [3, 1, 2]) expect(queue.accept(id)).toBeUndefined();
    expect(queue.available).toBe(3);
    expect([1, 2, 3, 4].map(() => queue.pop())).toEqual([3, 1, 2, -1]);
    expect(queue.available).toBe(0);
    expect(queue.inFlight).toBe(3);
  });

  it('returns buffers in any order and gets their ids again', () => {
    const queue = enabled(4);
    for (const id of [0, 1]) queue.accept(id);
    queue.pop();
    queue.pop();
    queue.use(1);
    expect(queue.accept(1)).toBeUndefined();
    queue.use(0);
    expect(queue.inFlight).toBe(1);
    expect(queue.pop()).toBe(1);
  });

  it('names an id that is in flight, taken or not', () => {
    const queue = enabled(4);
    queue.accept(2);
    expect(queue.accept(2)).toBe('id-in-flight');
    queue.pop();
    expect(queue.accept(2)).toBe('id-in-flight');
    expect(queue.inFlight).toBe(1);
  });

  it.each([-1, 4, 65_535, 0.5])('names an id it does not have: %d', (id) => {
    expect(enabled(4).accept(id)).toBe('bad-id');
  });

  it('names a buffer beyond its credit, whatever the id', () => {
    const queue = enabled(2);
    queue.accept(0);
    queue.accept(1);
    expect(queue.accept(0)).toBe('credit');
    expect(queue.accept(2)).toBe('credit');
    queue.use(queue.pop());
    expect(queue.accept(0)).toBeUndefined();
  });

  it('returns nothing that it has not taken: that is our own mistake', () => {
    const queue = enabled(2);
    queue.accept(0);
    expect(() => queue.use(0)).toThrow('queue_buffer[0] of 2: push in available');
    queue.pop();
    queue.use(0);
    expect(() => queue.use(0)).toThrow('queue_buffer[0] of 2: push in used');
  });

  it('G21: has nothing after a reset, and can be enabled again with another size', () => {
    const queue = enabled(4);
    queue.accept(0);
    queue.reset();
    expect(queue.enabled).toBe(false);
    expect(queue.pop()).toBe(-1);
    expect(queue.accept(0)).toBe('not-enabled');
    expect(queue.enable(2)).toBeUndefined();
    expect(queue.accept(0)).toBeUndefined();
  });
});

it('both halves agree over any course of work, and never more is in flight than fits', () => {
  const action = fc.oneof(fc.constant('take' as const), fc.constant('pop' as const), fc.nat(7));
  fc.assert(
    fc.property(fc.array(action, { maxLength: 300, size: 'max' }), (actions) => {
      const driver = new DriverQueue(8);
      const device = enabled(8);
      const taken: number[] = [];
      for (const what of actions) {
        if (what === 'take') {
          const id = driver.take();
          if (id >= 0) expect(device.accept(id)).toBeUndefined();
        } else if (what === 'pop') {
          const id = device.pop();
          if (id >= 0) taken.push(id);
        } else if (taken.length > 0) {
          const [id] = taken.splice(what % taken.length, 1) as [number];
          device.use(id);
          expect(driver.complete(id)).toBe(true);
        }
        expect(device.inFlight).toBe(driver.inFlight);
        expect(device.inFlight).toBe(device.available + taken.length);
        expect(driver.inFlight).toBeLessThanOrEqual(8);
      }
    }),
  );
});
