import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BalloonChoiceError } from '../../guest/further-balloons.ts';
import type { BalloonEnd } from '../../guest/further-connection.ts';
import { type RunningGuests, type StartGuestOptions, startGuest } from '../../guest/start-guest.ts';
import { type RunningHost, startHost } from '../../host/start-host.ts';
import { MIB } from '../../shared/lib/units.ts';
import { MAX_BALLOON_DEVICES } from '../../shared/limits.ts';

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

describe('balloon devices beside the first', () => {
  it('have connections of their own, to the same host or to another', async () => {
    const other = await startHost({ listen: { host: '127.0.0.1', port: 0 } });
    const ends: [string, BalloonEnd][] = [];
    const running = await start({
      balloons: [{ id: 'b1' }, { id: 'b2', connect: other.url }],
      onBalloonEnd: (...end) => void ends.push(end),
    });
    const [guest] = running.guests;
    const states = () => guest?.kernel.balloons.list.map(({ core }) => core.state);
    await expect.poll(states).toEqual(['bound', 'bound', 'bound']);
    expect(host.list().map(({ id }) => id)).toEqual(['vm0', 'b1']);
    expect(other.list().map(({ id }) => id)).toEqual(['b2']);
    other.host.vmm.vm('b2').quit();
    await expect.poll(() => ends).toMatchObject([['b2', { by: 'host' }]]);
    expect(guest?.power).toBe('running');
    await expect.poll(() => guest?.connectionStates).toEqual(['open', 'open', 'closed']);
    await running.close();
    expect(host.list()).toEqual([]);
    await other.close();
  });

  it('a host is sent its own token, never another one’s', async () => {
    const token = 'a-token-of-the-first-host';
    const guarded = await startHost({ listen: { host: '127.0.0.1', port: 0 }, token });
    const ends: [string, BalloonEnd][] = [];
    const running = await start({
      ...{ connect: guarded.url, token },
      balloons: [
        { id: 'same-host' },
        { id: 'open-host', connect: host.url },
        { id: 'no-token', connect: guarded.url },
      ],
      onBalloonEnd: (...end) => void ends.push(end),
    });
    const connections = () => running.guests[0]?.connectionStates;
    await expect.poll(connections).toEqual(['open', 'open', 'open', 'closed']);
    expect(ends).toMatchObject([['no-token', { by: 'refused' }]]);
    await running.close();
    await guarded.close();
  });

  it.each<[string, Partial<StartGuestOptions>, RegExp]>([
    ['two of one id', { balloons: [{ id: 'b1' }, { id: 'b1' }] }, /^two balloon devices .* 'b1'$/],
    ['the id of the first', { balloons: [{ id: 'vm0' }] }, /^two balloon devices .* 'vm0'$/],
    ['what is no id', { balloons: [{ id: '../b1' }] }, /^'\.\.\/b1' is no id/],
    ['several guests', { balloons: [{ id: 'b1' }], count: 2 }, /for one guest, not for several$/],
    [
      'more than there can be',
      { balloons: Array.from({ length: MAX_BALLOON_DEVICES }, (_, at) => ({ id: `b${at}` })) },
      /^17 balloon devices: a guest has at most 16$/,
    ],
  ])('%s: refused before anything is started', async (_what, options, expected) => {
    await expect(start(options)).rejects.toThrow(expected);
    await expect(start(options)).rejects.toBeInstanceOf(BalloonChoiceError);
    expect(host.list()).toEqual([]);
  });

  it('whose token would travel in the clear are refused as the guest itself is', async () => {
    const balloons = [{ id: 'b1', connect: 'ws://203.0.113.1:1', token: 'a-token-for-b1-only' }];
    await expect(start({ balloons })).rejects.toThrow(/in the clear: use wss/);
  });
});

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
