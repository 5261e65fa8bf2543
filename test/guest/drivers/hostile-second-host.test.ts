import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { writePairs, writeQueueSizes } from '../../../shared/protocol/bodies.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import { type HostToGuest, Op } from '../../../shared/protocol/messages.ts';
import { VIRTIO_ID_BALLOON } from '../../../shared/virtio/balloon.ts';
import { TwoHosts } from '../../support/two-hosts.ts';

/** What a host that plugged a second device into somebody's guest may send: anything. */
const RAM_MIB = 64;
/** More frames than there are. */
const PAGES = 2 * ((RAM_MIB * 2 ** 20) / 4096);

const config = fc.uint8Array({ minLength: 16, maxLength: 16 });
const range = fc.record({
  start: fc.nat({ max: PAGES }),
  count: fc.integer({ min: 1, max: PAGES }),
});

const message: fc.Arbitrary<HostToGuest> = fc.oneof(
  fc.tuple(fc.constant(Op.statusValue), fc.nat({ max: 255 }), fc.boolean()),
  fc.tuple(fc.constant(Op.config), fc.nat(), config, fc.boolean()),
  fc.tuple(fc.constant(Op.config), fc.nat(), fc.uint8Array({ maxLength: 20 }), fc.boolean()),
  fc.tuple(fc.constant(Op.used), fc.nat({ max: 5 }), fc.nat({ max: 130 }), fc.nat()),
  fc.tuple(fc.constant(Op.discard), fc.array(range, { maxLength: 20 }).map(writePairs)),
  fc.tuple(fc.constant(Op.discard), fc.uint8Array({ maxLength: 40 })),
  fc.tuple(fc.constant(Op.unplug), fc.nat({ max: 5000 })),
  fc
    .record({ features: fc.nat({ max: 63 }), size: fc.constantFrom(8, 128, 100), config })
    .map(({ features, size, config: space }): HostToGuest => {
      const sizes = writeQueueSizes([size, size, size, size, size]);
      return [Op.device, VIRTIO_ID_BALLOON, features, 1, sizes, 0, space];
    }),
);

describe('a hostile host of a second device', () => {
  it('harms neither the content of the guest nor the first device', () => {
    const sent = fc.array(fc.tuple(message, fc.constantFrom(0, 0, 1, 300)), { maxLength: 60 });
    fc.assert(
      fc.property(sent, (messages) => {
        const world = new TwoHosts({ mib: RAM_MIB });
        world.guest.run({ name: 'hog', mib: 4, seconds: 1000, lock: true });
        world.setTarget(0, 500);
        world.setTarget(1, 500);
        for (const [one, ms] of messages) {
          try {
            world.balloon(1).handle(one);
          } catch (error) {
            expect(error).toBeInstanceOf(ProtocolError);
          }
          world.pass(ms);
          world.verify();
          world.expectLedgerIsBook(0);
        }
        world.setTarget(0, 300);
        world.pass(1000);
        expect(world.pages()[0]).toBe(300);
        world.expectLedgerIsBook(0);
        expect(world.guest.power).toBe('running');
      }),
      { numRuns: 15 },
    );
  }, 60_000);
});
