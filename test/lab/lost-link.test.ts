import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decode } from '../../shared/protocol/codec.ts';
import { Op } from '../../shared/protocol/messages.ts';
import { LAST_PAGES, RecordedExchange } from '../support/recorded-exchange.ts';

/**
 * The first of three ways to lose a peer: the link is lost, and then nothing is lost or repeated.
 * The measure is the exchange without a cut: the device must see and say the same in the same
 * order, message by message, and so must the guest.
 */
const quiet = new RecordedExchange().run();
/** Frames of the script; the end of the guest's process comes after them. */
const FRAMES = quiet.frames;
const WANTED = quiet.outcome();
/** Hello, welcome and what leaves with it: before they are through there is nothing to resume. */
const HANDSHAKE = 3;

function expectAsQuiet(exchange: RecordedExchange): void {
  expect(exchange.atDevice).toEqual(quiet.atDevice);
  expect(exchange.atGuest).toEqual(quiet.atGuest);
  expect(exchange.outcome()).toEqual(WANTED);
}

function opsOf(messages: readonly string[], from: 'guest' | 'host'): Set<number> {
  const frames = messages.map((text) => Buffer.from(text.replace(/^. /, ''), 'hex'));
  return new Set(frames.map((frame) => decode(frame, from)[0]));
}

describe('the exchange that is cut', () => {
  it('has buffers, config writes, status writes, discards, pause and run in it', () => {
    const said = quiet.atDevice.filter((text) => text.startsWith('<'));
    expect([...opsOf(said, 'guest')].sort()).toEqual(
      [Op.status, Op.features, Op.queue, Op.configWrite, Op.avail].sort(),
    );
    expect([...opsOf(quiet.atGuest, 'host')].sort()).toEqual(
      [Op.device, Op.statusValue, Op.config, Op.used, Op.discard, Op.pause, Op.run].sort(),
    );
    expect(
      quiet.atDevice.filter((text) => text.startsWith('>')).map((text) => text.slice(2)),
    ).toEqual(quiet.atGuest);
  });

  it('ends with both sides in agreement, after pages of the balloon were moved', () => {
    expect(quiet.guest.kernel.memory.balloons.events.balloon_migrate).toBe(LAST_PAGES);
    expect(WANTED).toMatchObject({
      difference: { missing: 0, surplus: 0, repeated: 0 },
      driver: 'bound',
      canariesWrong: 0,
      processes: 0,
      runState: 'running',
    });
  });
});

describe('a link that is lost', () => {
  it('at any frame of the exchange, in either direction: exactly once for every message', () => {
    for (let cut = HANDSHAKE; cut < FRAMES; cut++) {
      const exchange = new RecordedExchange({ cuts: [cut] }).run();
      expect(exchange.lost, `cut at ${cut}`).toBe(1);
      expectAsQuiet(exchange);
    }
  });

  it('several times, in hellos of resumes too', () => {
    const cuts = fc.uniqueArray(fc.integer({ min: HANDSHAKE, max: FRAMES + 20 }), {
      minLength: 2,
      maxLength: 5,
    });
    fc.assert(
      fc.property(cuts, (frames) => expectAsQuiet(new RecordedExchange({ cuts: frames }).run())),
      { numRuns: 60 },
    );
  });

  it('at frames in a row: the guest comes back as often as it takes', () => {
    for (let start = HANDSHAKE; start < FRAMES; start += 23) {
      const row = Array.from({ length: 5 }, (_, index) => start + index);
      expectAsQuiet(new RecordedExchange({ cuts: row }).run());
    }
  });

  it('during the first handshake: the guest powers on with the next one', () => {
    for (let cut = 0; cut < HANDSHAKE; cut++) {
      const { pfns: _order, ...wanted } = WANTED as { pfns: number[] };
      const exchange = new RecordedExchange({ cuts: [cut] }).run();
      expect(exchange.outcome()).toMatchObject(wanted);
      expect(exchange.atGuest).toEqual(quiet.atGuest);
    }
  });
});
