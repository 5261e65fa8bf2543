import { describe, expect, it } from 'vitest';
import { StartQueue } from '../../guest/start-queue.ts';

/** A guest that does nothing but be started, and end when told. */
class IdleGuest {
  readonly id: string;
  readonly ended: Promise<void>;
  readonly started: string[];
  end: () => void = () => {};

  constructor(id: string, started: string[]) {
    this.id = id;
    this.started = started;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  start(): void {
    this.started.push(this.id);
  }
}

function queueOf(count: number) {
  const queue = new StartQueue();
  const started: string[] = [];
  const guests = Array.from({ length: count }, (_, index) => new IdleGuest(`${index}`, started));
  for (const guest of guests) queue.add(guest);
  queue.startMore();
  return { queue, started, guests };
}

describe('guests of one process', () => {
  it('are all started at once where they are few, in order', () => {
    expect(queueOf(3).started).toEqual(['0', '1', '2']);
  });

  it('wait until others have reached the host where they are many', () => {
    const { queue, started } = queueOf(100);
    expect(started).toHaveLength(32);
    queue.reached('5');
    expect(started).toHaveLength(33);
    expect(started[32]).toBe('32');
    queue.reached('5');
    queue.reached('99');
    expect(started).toHaveLength(33);
  });

  it('make room for others when they end without having got there', async () => {
    const { started, guests } = queueOf(40);
    for (const guest of guests.slice(0, 8)) guest.end();
    await Promise.all(guests.slice(0, 8).map(({ ended }) => ended));
    expect(started).toHaveLength(40);
  });
});
