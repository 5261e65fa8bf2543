import {
  BalloonDevice,
  type BalloonDeviceOptions,
  type DriverMessage,
} from '../../../host/device/balloon-device.ts';
import { deviceCounters } from '../../../host/device/device-counters.ts';
import { DEFAULT_PROPERTIES } from '../../../host/device/offer.ts';
import {
  QEMU_POLICY,
  STRICT_POLICY,
  type ViolationPolicy,
} from '../../../host/device/violations.ts';
import { RamLedger } from '../../../host/ram/ledger.ts';
import type { BalloonProperties } from '../../../host/vmm/machine.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { fromRanges, type PfnRange } from '../../../shared/lib/pfn-ranges.ts';
import {
  readPairs,
  type WritableRange,
  writePfns,
  writeWritable,
} from '../../../shared/protocol/bodies.ts';
import { type HostToGuest, Op } from '../../../shared/protocol/messages.ts';
import { type QueueName, queueLayout } from '../../../shared/virtio/balloon.ts';
import {
  ACKNOWLEDGE,
  DRIVER,
  DRIVER_OK,
  FEATURES_OK,
} from '../../../shared/virtio/device-status.ts';
import { type Features, toWords } from '../../../shared/virtio/features.ts';
import { encodeStats, type StatsEntry } from '../../../shared/virtio/stats.ts';

export const READY = ACKNOWLEDGE | DRIVER | FEATURES_OK;
export const LIVE = READY | DRIVER_OK;

/** A q35 of 512 pages with a hole. */
export const REGIONS: readonly PfnRange[] = [
  { start: 0, count: 256 },
  { start: 0x1000, count: 256 },
];
export const RAM_BYTES = 512 * 4096;

const NOTHING = new Uint8Array(0);

export interface ScriptedDriverOptions {
  readonly properties?: Partial<BalloonProperties>;
  readonly strict?: boolean;
  readonly policy?: ViolationPolicy;
  readonly regions?: readonly PfnRange[];
  readonly targetBytes?: number;
}

/**
 * A balloon device and, in place of its driver, a test that says what the driver does. What the
 * device sends is kept in order as copies.
 */
export class ScriptedDriver {
  readonly host = new VirtualClock(1_700_000_000_000);
  readonly clock = new PausableClock(this.host);
  readonly counters = deviceCounters();
  readonly ledger: RamLedger;
  readonly device: BalloonDevice;
  /** Everything the device sent. */
  readonly sent: HostToGuest[] = [];
  /** What was told of `actual`, in bytes that remain to the guest. */
  readonly actualChanges: number[] = [];
  #nextId = 0;
  #looked = 0;

  constructor(options: ScriptedDriverOptions = {}) {
    const { properties, strict = false, regions = REGIONS, targetBytes } = options;
    this.ledger = new RamLedger(regions);
    const deviceOptions: BalloonDeviceOptions = {
      qomId: 'balloon0',
      properties: { ...DEFAULT_PROPERTIES, ...properties },
      policy: options.policy ?? (strict ? STRICT_POLICY : QEMU_POLICY),
      ledger: this.ledger,
      clock: this.clock,
      port: { send: (message) => this.sent.push(structuredClone(message)) },
      counters: this.counters,
      log: SILENT,
      ...(targetBytes === undefined ? {} : { targetBytes }),
      onActualChanged: (bytes) => this.actualChanges.push(bytes),
    };
    this.device = new BalloonDevice(deviceOptions);
  }

  /** What the device sent since the last look. */
  news(): HostToGuest[] {
    const news = this.sent.slice(this.#looked);
    this.#looked = this.sent.length;
    return news;
  }

  /** The newest message of an op, or undefined. */
  last<O extends HostToGuest[0]>(op: O): Extract<HostToGuest, readonly [O, ...unknown[]]> {
    const found = this.sent.findLast((message) => message[0] === op);
    if (found === undefined) throw new Error(`the device sent no message of op ${op}`);
    return found as Extract<HostToGuest, readonly [O, ...unknown[]]>;
  }

  send(message: DriverMessage): void {
    this.device.handle(message);
  }

  /** Writes status and returns what the device answered. */
  status(value: number): number {
    this.send([Op.status, value]);
    return this.last(Op.statusValue)[1];
  }

  features(set: Features): void {
    const [low, high] = toWords(set);
    this.send([Op.features, low, high]);
  }

  /** Initialisation up to FEATURES_OK; returns the status shown then. */
  negotiate(accepted: Features = this.device.offered): number {
    this.status(0);
    this.status(ACKNOWLEDGE);
    this.status(ACKNOWLEDGE | DRIVER);
    this.features(accepted);
    return this.status(READY);
  }

  /** The whole of G29, every queue at its maximum size. */
  bringUp(accepted: Features = this.device.offered): void {
    this.negotiate(accepted);
    this.enableQueues();
    this.status(LIVE);
    this.news();
  }

  enableQueues(): void {
    this.queues.forEach((name, index) => {
      const sizes = { inflate: 128, deflate: 128, stats: 128, free_page: 1024, reporting: 32 };
      this.send([Op.queue, index, sizes[name]]);
    });
  }

  get queues(): QueueName[] {
    return queueLayout(this.device.offered);
  }

  /** Makes a buffer available and returns its id; ids go round. */
  buffer(queue: QueueName, readable: Uint8Array, writable: Uint8Array = NOTHING): number {
    const id = this.#nextId;
    this.#nextId = (this.#nextId + 1) % 32;
    this.send([Op.avail, this.queues.indexOf(queue), id, readable, writable]);
    return id;
  }

  inflate(...pfns: number[]): number {
    return this.buffer('inflate', writePfns(pfns));
  }

  deflate(...pfns: number[]): number {
    return this.buffer('deflate', writePfns(pfns));
  }

  stats(...entries: StatsEntry[]): number {
    return this.buffer('stats', encodeStats(entries));
  }

  report(...ranges: WritableRange[]): number {
    return this.buffer('reporting', NOTHING, writeWritable(ranges));
  }

  hint(...ranges: WritableRange[]): number {
    return this.buffer('free_page', NOTHING, writeWritable(ranges));
  }

  writeConfig32(offset: number, value: number): void {
    this.send([Op.configWrite, offset, writePfns([value])]);
  }

  /** A field of the config space as the driver saw it last. */
  config32(offset: number): number {
    const message = this.sent.findLast(([op]) => op === Op.config) ?? this.device.describe();
    const bytes = (message[0] === Op.config ? message[2] : message[6]) as Uint8Array;
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(offset, true);
  }

  used(queue: QueueName, id: number): HostToGuest {
    return [Op.used, this.queues.indexOf(queue), id, 0];
  }
}

/** The frames a `discard` message names, in its order. */
export function discarded(message: HostToGuest | undefined): number[] {
  if (message?.[0] !== Op.discard) throw new Error('not a discard message');
  return fromRanges(readPairs(message[1]));
}
