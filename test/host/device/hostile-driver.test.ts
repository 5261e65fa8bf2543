import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DriverMessage } from '../../../host/device/balloon-device.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import { Op } from '../../../shared/protocol/messages.ts';
import { LIVE, ScriptedDriver } from './scripted-driver.ts';

const properties = { 'free-page-hint': true, 'free-page-reporting': true };

const body = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.array(fc.integer({ min: 0, max: 0x1110 }), { maxLength: 8 }).map((pfns) => {
    return new Uint8Array(Uint32Array.from(pfns).buffer);
  }),
);
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const queue = fc.integer({ min: 0, max: 5 });
const status = fc.oneof(
  fc.constantFrom(0, 1, 3, 11, LIVE, LIVE, LIVE),
  fc.integer({ min: 0, max: 255 }),
);
const message: fc.Arbitrary<DriverMessage> = fc.oneof(
  fc.tuple(fc.constant(Op.status), status),
  fc.tuple(fc.constant(Op.features), fc.oneof(fc.constant(0x3a), u32), fc.constant(1)),
  fc.tuple(fc.constant(Op.queue), queue, fc.constantFrom(0, 1, 32, 128, 1024)),
  fc.tuple(fc.constant(Op.configWrite), fc.integer({ min: 0, max: 20 }), body),
  fc.tuple(fc.constant(Op.avail), queue, fc.integer({ min: 0, max: 40 }), body, body),
);
const verb = fc.constantFrom('target', 'poll', 'wait', 'pause', 'resume', 'bring up');

function act(driver: ScriptedDriver, what: string): void {
  if (what === 'target') driver.device.setTargetBytes(4096 * (1 + driver.sent.length));
  else if (what === 'poll') driver.device.pollingIntervalSeconds = driver.sent.length % 3;
  else if (what === 'wait') driver.host.advanceBy(700);
  else if (what === 'pause') driver.device.pause();
  else if (what === 'resume') driver.device.resume();
  else driver.bringUp();
}

describe.each([false, true])('a driver that says anything (strict: %s)', (strict) => {
  it('meets nothing but named errors, and a device that works after a reset', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(message, verb), { maxLength: 60 }), (steps) => {
        const driver = new ScriptedDriver({ properties, strict });
        driver.bringUp();
        for (const step of steps) {
          try {
            if (typeof step === 'string') act(driver, step);
            else driver.send(step);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
          const { ledger } = driver;
          const counts = ['resident', 'ballooned', 'discarded', 'reported'] as const;
          const sum = counts.reduce((total, state) => total + ledger.count(state), 0);
          expect(sum).toBe(ledger.pageCount);
        }
        for (const sent of driver.sent) expect(() => encode(sent)).not.toThrow();
        driver.bringUp();
        expect(driver.device.status).toBe(LIVE);
        const id = driver.inflate(3);
        expect(driver.news().at(-1)).toEqual(driver.used('inflate', id));
        expect(driver.ledger.balloonPages).toBe(1);
      }),
      { numRuns: 300 },
    );
  });
});
