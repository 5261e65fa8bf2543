import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RunningGuests, type StartGuestOptions, startGuest } from '../../guest/start-guest.ts';
import { type RunningHost, startHost } from '../../host/start-host.ts';
import { MIB } from '../../shared/lib/units.ts';

let host: RunningHost;
let guests: RunningGuests[];

beforeEach(async () => {
  guests = [];
  host = await startHost({ listen: { host: '127.0.0.1', port: 0 } });
});
afterEach(async () => {
  for (const guest of guests) await guest.close();
  await host.close();
});

/** Resolves when the guest is let in or has ended. */
async function start(options: Partial<StartGuestOptions> = {}): Promise<RunningGuests> {
  let opened = (): void => {};
  const open = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const running = await startGuest({
    connect: host.url,
    id: 'vm0',
    memoryBytes: 64 * MIB,
    programs: [],
    onLink: () => opened(),
    ...options,
  });
  guests.push(running);
  await Promise.race([open, running.ended]);
  return running;
}

describe('the epoch of a guest', () => {
  it('grows from one start to the next, however soon that is', async () => {
    for (let life = 0; life < 10; life++) {
      const running = await start();
      expect(running.guests[0]?.connectionState).toBe('open');
      await running.close();
    }
  });

  it('that is lower than one the host has seen is refused, and both are named', async () => {
    await start({ epoch: 7 });
    const [end] = await (await start({ epoch: 6 })).ended;
    expect(end).toEqual({
      by: 'refused',
      reason: 'a later guest of this id took its place (epoch 6, the host has seen 7)',
    });
  });

  it('that is higher takes the place of an earlier life, which ends', async () => {
    const first = await start({ epoch: 7 });
    await start({ epoch: 8 });
    const [end] = await first.ended;
    expect(end).toMatchObject({ by: 'refused' });
  });
});
