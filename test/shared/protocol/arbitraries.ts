import fc from 'fast-check';
import type { FieldKind, Message } from '../../../shared/protocol/messages.ts';
import { SCHEMAS } from '../../../shared/protocol/messages.ts';

/** Valid values of each kind of field, with the ends of ranges and of length classes. */
const KINDS: Record<FieldKind, fc.Arbitrary<unknown>> = {
  u8: fc.integer({ min: 0, max: 0xff }),
  u16: fc.integer({ min: 0, max: 0xffff }),
  u32: fc.oneof(fc.integer({ min: 0, max: 0xffff_ffff }), fc.constantFrom(0, 127, 128, 65_536)),
  bool: fc.boolean(),
  id: fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/),
  text: fc
    .oneof(fc.string({ maxLength: 40 }), fc.string({ unit: 'grapheme', maxLength: 60 }))
    .filter((text) => Buffer.byteLength(text) <= 256 && Buffer.from(text).toString() === text),
  bin: fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ minLength: 250, maxLength: 260 }),
  ),
};

/** Any valid message of any op. */
export const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  ...SCHEMAS.map((schema) => {
    const fields = schema.fields.map(([, kind]) => KINDS[kind]);
    return fc.tuple(fc.constant(schema.op), ...fields) as unknown as fc.Arbitrary<Message>;
  }),
);
