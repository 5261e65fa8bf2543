/**
 * The messages of `puff.v1.msgpack`, specified byte by byte in docs/PROTOCOL.md. A frame is one
 * msgpack array `[op, ...fields]`; the table below is the schema that validation, documentation
 * and test vectors are made from. PFN lists are `bin` of little-endian 32-bit words, exactly the
 * bytes a virtio driver puts in the buffer.
 */
export const SUBPROTOCOL = 'puff.v1.msgpack';
export const PROTOCOL_VERSION = 1;
export const ENDPOINT_PATH = '/puff';
/** Where the host's port tells how the host is. */
export const HEALTH_PATH = '/health';

export const Op = {
  hello: 1,
  welcome: 2,
  error: 3,
  ack: 4,
  device: 16,
  status: 17,
  statusValue: 18,
  features: 19,
  queue: 20,
  config: 21,
  configWrite: 22,
  avail: 23,
  used: 24,
  discard: 25,
  pause: 26,
  run: 27,
  powerOff: 28,
  bye: 29,
  unplug: 30,
  unplugged: 31,
} as const;
export type Op = (typeof Op)[keyof typeof Op];

/** Sent by a guest first on every connection. `session` is empty for a power-on. */
export type Hello = readonly [
  op: typeof Op.hello,
  version: number,
  guestId: string,
  epochHigh: number,
  epochLow: number,
  session: string,
  received: number,
  regions: Uint8Array,
];
/** The host's answer. `resumed` tells whether the session named in the hello goes on. */
export type Welcome = readonly [
  op: typeof Op.welcome,
  version: number,
  session: string,
  resumed: boolean,
  received: number,
];
/** Why the sender is about to close, with the limit's or error's name. */
export type ErrorMessage = readonly [op: typeof Op.error, code: number, name: string, text: string];
/** How many sequenced messages (op 16 and up) of this session came in, modulo 2^32. */
export type Ack = readonly [op: typeof Op.ack, received: number];
/** The device after power-on: offered features, maximum queue sizes (le16 each), config. */
export type DeviceMessage = readonly [
  op: typeof Op.device,
  deviceId: number,
  offeredLow: number,
  offeredHigh: number,
  queueSizes: Uint8Array,
  generation: number,
  config: Uint8Array,
];
/** Driver writes device status; 0 resets. The device answers each with one statusValue. */
export type StatusMessage = readonly [op: typeof Op.status, value: number];
/**
 * The status byte the device shows now. `answer` is true for the answer to a `status`, false when
 * the device set DEVICE_NEEDS_RESET by itself.
 */
export type StatusValue = readonly [op: typeof Op.statusValue, value: number, answer: boolean];
/** The accepted subset; takes effect when FEATURES_OK is written. */
export type FeaturesMessage = readonly [op: typeof Op.features, low: number, high: number];
/** Enables a queue with a size (a power of two up to its maximum). */
export type QueueMessage = readonly [op: typeof Op.queue, index: number, size: number];
/** The whole config space. `interrupt` is false when only `actual` or such was echoed. */
export type ConfigMessage = readonly [
  op: typeof Op.config,
  generation: number,
  config: Uint8Array,
  interrupt: boolean,
];
export type ConfigWrite = readonly [op: typeof Op.configWrite, offset: number, bytes: Uint8Array];
/**
 * Makes one buffer available and notifies. `readable` is its device-readable part, `writable` its
 * device-writable part as 12-byte entries: le64 guest address, le32 length in bytes.
 */
export type Avail = readonly [
  op: typeof Op.avail,
  queue: number,
  id: number,
  readable: Uint8Array,
  writable: Uint8Array,
];
/** Returns a buffer; `length` is what the device wrote (0 for every balloon queue). */
export type Used = readonly [op: typeof Op.used, queue: number, id: number, length: number];
/** Frames whose content the host threw away: pairs of le32 PFN and le32 count. */
export type Discard = readonly [op: typeof Op.discard, ranges: Uint8Array];
/** Hypervisor verbs: a paused guest runs no task and is sent no interrupt. */
export type Pause = readonly [op: typeof Op.pause];
export type Run = readonly [op: typeof Op.run];
export type PowerOff = readonly [op: typeof Op.powerOff, reason: string];
/** The guest is asked to let go of its device, after `waitMs`; it may take its time. */
export type Unplug = readonly [op: typeof Op.unplug, waitMs: number];
/** The guest let go of the device: it is as if it had never been, until `device` comes again. */
export type Unplugged = readonly [op: typeof Op.unplugged];
/** The guest shuts down by its own will. */
export type Bye = readonly [op: typeof Op.bye, reason: string];

export type GuestToHost =
  | StatusMessage
  | FeaturesMessage
  | QueueMessage
  | ConfigWrite
  | Avail
  | Unplugged
  | Bye;
export type HostToGuest =
  | DeviceMessage
  | StatusValue
  | ConfigMessage
  | Used
  | Discard
  | Unplug
  | Pause
  | Run
  | PowerOff;
/** Sequenced messages: counted, kept until acknowledged, sent again after a reconnect. */
export type Sequenced = GuestToHost | HostToGuest;
export type Message = Hello | Welcome | ErrorMessage | Ack | Sequenced;

/** Ops below are about the connection itself and never counted. */
export const FIRST_SEQUENCED_OP = 16;

export type FieldKind = 'u8' | 'u16' | 'u32' | 'bool' | 'id' | 'text' | 'bin';
export interface MessageSchema {
  readonly op: Op;
  readonly name: keyof typeof Op;
  readonly from: 'guest' | 'host' | 'both';
  readonly fields: readonly (readonly [name: string, kind: FieldKind])[];
}

const schema = (
  name: keyof typeof Op,
  from: MessageSchema['from'],
  ...fields: MessageSchema['fields']
): MessageSchema => ({ op: Op[name], name, from, fields });

export const SCHEMAS: readonly MessageSchema[] = [
  schema(
    'hello',
    'guest',
    ['version', 'u8'],
    ['guestId', 'id'],
    ['epochHigh', 'u32'],
    ['epochLow', 'u32'],
    ['session', 'text'],
    ['received', 'u32'],
    ['regions', 'bin'],
  ),
  schema(
    'welcome',
    'host',
    ['version', 'u8'],
    ['session', 'text'],
    ['resumed', 'bool'],
    ['received', 'u32'],
  ),
  schema('error', 'both', ['code', 'u16'], ['name', 'text'], ['text', 'text']),
  schema('ack', 'both', ['received', 'u32']),
  schema(
    'device',
    'host',
    ['deviceId', 'u16'],
    ['offeredLow', 'u32'],
    ['offeredHigh', 'u32'],
    ['queueSizes', 'bin'],
    ['generation', 'u32'],
    ['config', 'bin'],
  ),
  schema('status', 'guest', ['value', 'u8']),
  schema('statusValue', 'host', ['value', 'u8'], ['answer', 'bool']),
  schema('features', 'guest', ['low', 'u32'], ['high', 'u32']),
  schema('queue', 'guest', ['index', 'u8'], ['size', 'u16']),
  schema('config', 'host', ['generation', 'u32'], ['config', 'bin'], ['interrupt', 'bool']),
  schema('configWrite', 'guest', ['offset', 'u16'], ['bytes', 'bin']),
  schema(
    'avail',
    'guest',
    ['queue', 'u8'],
    ['id', 'u16'],
    ['readable', 'bin'],
    ['writable', 'bin'],
  ),
  schema('used', 'host', ['queue', 'u8'], ['id', 'u16'], ['length', 'u32']),
  schema('discard', 'host', ['ranges', 'bin']),
  schema('pause', 'host'),
  schema('run', 'host'),
  schema('powerOff', 'host', ['reason', 'text']),
  schema('bye', 'guest', ['reason', 'text']),
  schema('unplug', 'host', ['waitMs', 'u16']),
  schema('unplugged', 'guest'),
];
