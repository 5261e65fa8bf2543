import type { QueueName } from '../../shared/virtio/balloon.ts';
import type { BootState } from './boot-state.ts';
import type { Traffic } from './traffic.ts';

/** A run of the guest's test program that the recording's steps name. */
export interface RecordedProgram {
  readonly name: 'hog';
  readonly mib: number;
}

/**
 * The shapes `puff verify` passes between its steps. A recording is split into `Inputs`, which the
 * emulator is given, and `Expectations`, which only the comparison sees; what the emulator then
 * did is `Observed`. All times are milliseconds on one timeline: the recording's wire clock.
 */

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

export interface JsonObject {
  readonly [name: string]: JsonValue;
}

/** Bytes of one QMP request (or of a part of one) and the moment QEMU served them. */
export interface QmpInput {
  readonly timeMs: number;
  readonly bytes: Uint8Array;
}

/**
 * One buffer handed back to the guest. `buffer` says which of the two kinds a device may hold at
 * once: the statistics buffer it keeps, or the buffer it took last from any other queue.
 */
export interface UsedInput {
  readonly timeMs: number;
  readonly buffer: 'stats' | 'other';
  /** When the guest's CPU acted on it: the following write of `actual`, else `timeMs`. */
  readonly actedMs: number;
}

/**
 * A configuration-change interrupt: when a new target raised it and when the guest next read
 * config. Two raised before one read have the same `actedMs`.
 */
export interface ConfigInterruptInput {
  readonly timeMs: number;
  /** Equals `timeMs` where no read followed before a driver left or came. */
  readonly actedMs: number;
}

export const OPERATOR_ACTIONS = ['unbind', 'bind', 'rmmod', 'insmod'] as const;
export type OperatorAction = (typeof OPERATOR_ACTIONS)[number];

export interface OperatorInput {
  /** The action's first visible effect on the wire. */
  readonly timeMs: number;
  readonly action: OperatorAction;
}

export interface ProgramInput {
  /** When it starts: late enough for its first visible effect to come when it was recorded. */
  readonly timeMs: number;
  readonly program: RecordedProgram;
}

/** Settings of the emulated QEMU, taken from the greeting. */
export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

/** negotiation.json: an exchange on its own, on a fresh 256 MiB machine; no times, order only. */
export interface NegotiationInputs {
  readonly memoryBytes: number;
  readonly version: QmpVersion;
  readonly requests: readonly Uint8Array[];
}

export interface Inputs {
  readonly memoryBytes: number;
  /** `-device virtio-balloon-pci` options as written: 'deflate-on-oom' -> 'on'. */
  readonly deviceOptions: Readonly<Record<string, string>>;
  readonly version: QmpVersion;
  /** Wall-clock milliseconds since the epoch at time 0 of the timeline. */
  readonly wallStartMs: number;
  /** The last status 0 before the first 1: the driver core takes the device up. */
  readonly bootMs: number;
  /** The QMP client connects (the greeting). */
  readonly connectMs: number;
  /** Its recording's last line: what QMP says after this moment nobody has seen. */
  readonly disconnectMs: number;
  /** In the order sent; times never go back. */
  readonly qmp: readonly QmpInput[];
  readonly used: readonly UsedInput[];
  readonly configInterrupts: readonly ConfigInterruptInput[];
  readonly operator: readonly OperatorInput[];
  readonly programs: readonly ProgramInput[];
  /** Moments a migration asked the guest for a round of free page hinting. */
  readonly hintRoundsMs: readonly number[];
  /** The guest's free memory after boot; a fresh guest of the size where it is left out. */
  readonly bootState?: BootState;
  /**
   * Moments the BALLOON_CHANGE throttle timer expires, whether or not an event was waiting: a
   * waiting event goes out with the value of that moment and the timer is armed again, else the
   * throttle is idle and the next change goes out at once.
   */
  readonly throttleExpiriesMs: readonly number[];
  /** The last moment of both files. Nothing after it is known. */
  readonly endMs: number;
  readonly negotiation?: NegotiationInputs;
}

/** A buffer as the device took it. `length` is that of its `used`, null if it kept the buffer. */
export interface BufferItem {
  readonly queue: QueueName;
  /** PFNs (free page and reporting queues: ranges). Not compared on the statistics queue. */
  readonly count: number;
  readonly length: number | null;
}

/**
 * A message of the emulated QMP server. `request` is the index in `Inputs.qmp` of the last bytes
 * written to the socket before the message came out, -1 before the first (the greeting).
 */
export interface ObservedMessage {
  readonly request: number;
  readonly message: JsonObject;
}

/** What the emulator did with the inputs. */
export interface Observed {
  /** The negotiated set: what the driver wrote before FEATURES_OK. */
  readonly features: bigint;
  /** Every value the status byte was set to, in order, from `bootMs` on. */
  readonly status: readonly number[];
  readonly buffers: readonly BufferItem[];
  /** Every `actual` written, in order (pages). */
  readonly config: readonly number[];
  /** Greeting, replies and events in the order they came out. */
  readonly qmp: readonly ObservedMessage[];
  readonly traffic: readonly Traffic[];
  /** The answer to `Inputs.negotiation`, greeting included, in order. */
  readonly negotiation?: readonly JsonObject[];
}

/** A reply that counts: `request` is the index in `Inputs.qmp` it answers. */
export interface ExpectedReply {
  readonly request: number;
  /** The command's name where the request has one: some replies are compared in part. */
  readonly command: string | undefined;
  readonly message: JsonObject;
}

export interface ExpectedEvent {
  readonly name: string;
  readonly data: JsonObject | undefined;
  /** STOP and RESUME: the event came before the reply to the request with this index. */
  readonly beforeReplyTo: number | undefined;
}

export interface Expectations {
  readonly features: bigint;
  readonly status: readonly number[];
  readonly buffers: readonly BufferItem[];
  readonly config: readonly number[];
  readonly replies: readonly ExpectedReply[];
  readonly events: readonly ExpectedEvent[];
  readonly traffic: readonly Traffic[];
  /** Complete requests that have no recorded reply: what Puff answers to them is no item. */
  readonly unanswered: readonly number[];
  readonly negotiation?: readonly JsonObject[];
}

/** Names of the checks, in the order they are printed. */
export const CHECK_NAMES = [
  'wire.features',
  'wire.status',
  'wire.buffers',
  'wire.config',
  'wire.targets',
  'qmp.replies',
  'qmp.events',
  'reporting',
  'hinting',
  'oom',
  'allocator.pfn',
  'allocator.frees',
  'allocator.events',
  'allocator.lists',
  'allocator.zones',
  'wire.pfns',
  'compaction.pairs',
  'compaction.events',
  'compaction.lists',
  'compaction.zones',
  'compaction.counts',
] as const;
export type CheckName = (typeof CHECK_NAMES)[number];

export interface Difference {
  readonly index: number;
  /** null where one side has no such item. */
  readonly expected: unknown;
  readonly actual: unknown;
}

/** The items of one task in a check. */
export interface TaskCount {
  /** What it was at work as, by the name that both sides know; null where nobody knows. */
  readonly task: string | null;
  /** Recorded tasks that were at work as that, by name and number: 'kcompactd0-28'. */
  readonly recorded: readonly string[];
  readonly total: number;
  readonly equal: number;
}

export interface Check {
  readonly name: CheckName;
  /** The larger of both lengths: a surplus item is a difference. */
  readonly total: number;
  readonly equal: number;
  readonly firstDifference: Difference | null;
  /** Where tasks are told apart: the same items by task, in the order of their first. */
  readonly tasks?: readonly TaskCount[];
}
