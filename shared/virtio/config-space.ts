import { assert, fail } from '../lib/assert.ts';
import {
  CONFIG_ACTUAL,
  CONFIG_FREE_PAGE_HINT_CMD_ID,
  CONFIG_NUM_PAGES,
  CONFIG_POISON_VAL,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
} from './balloon.ts';
import { DRIVER_OK, statusAllows } from './device-status.ts';
import { type Features, hasFeature } from './features.ts';

/**
 * The config space of a balloon device as data: one table of fields drives sizes, reads, writes
 * and the judgement of what a driver writes. Little-endian on every interface (N07).
 *
 * Not covered: ChromeOS' `ws_num_bins` at offset 16; a field of an older interface's byte order.
 */
interface ConfigFieldRow {
  readonly name: string;
  readonly offset: number;
  readonly bytes: 4;
  /** Who changes it while the driver is bound. The other side only reads. */
  readonly writer: 'device' | 'driver';
  /** The feature bit that brings the field. */
  readonly feature?: number;
  /** Restricts the driver's writes further. */
  readonly when?: 'before-driver-ok';
}

export const CONFIG_FIELDS = [
  { name: 'num_pages', offset: CONFIG_NUM_PAGES, bytes: 4, writer: 'device' },
  { name: 'actual', offset: CONFIG_ACTUAL, bytes: 4, writer: 'driver' },
  {
    name: 'free_page_hint_cmd_id',
    offset: CONFIG_FREE_PAGE_HINT_CMD_ID,
    bytes: 4,
    writer: 'device',
    feature: VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  },
  {
    name: 'poison_val',
    offset: CONFIG_POISON_VAL,
    bytes: 4,
    writer: 'driver',
    feature: VIRTIO_BALLOON_F_PAGE_POISON,
    when: 'before-driver-ok',
  },
] as const satisfies readonly ConfigFieldRow[];
export type ConfigFieldName = (typeof CONFIG_FIELDS)[number]['name'];

const FIELDS: readonly ConfigFieldRow[] = CONFIG_FIELDS;
const OFFSETS = Object.fromEntries(FIELDS.map(({ name, offset }) => [name, offset])) as Readonly<
  Record<ConfigFieldName, number>
>;

/** Every field: what QEMU's `qemu-4-0-config-size` and a device with poisoning advertise. */
export const CONFIG_BYTES_MAX = 16;

/**
 * The size QEMU advertises: up to the last field that an offered feature brings, so 8 bytes
 * without hinting and poisoning, 12 with hinting, 16 with poisoning. `qemu40ConfigSize` is the
 * property `qemu-4-0-config-size` of machine types before 4.1: always the whole structure.
 */
export function configSizeBytes(offered: Features, qemu40ConfigSize = false): number {
  if (qemu40ConfigSize) return CONFIG_BYTES_MAX;
  let sizeBytes = 0;
  for (const { offset, bytes, feature } of FIELDS) {
    if (feature === undefined || hasFeature(offered, feature)) sizeBytes = offset + bytes;
  }
  return sizeBytes;
}

/** What is wrong with a driver's write. */
export type ConfigViolation =
  /** It ends past the advertised size, or begins where no field is. */
  | 'config-past-end'
  /** It begins inside a field, or covers less than one (N23: all 4 bytes in one access). */
  | 'config-partial'
  /** It covers more than one field, which no access does atomically (G23). */
  | 'config-several-fields'
  /** The field is the device's: `num_pages` (X5) or `free_page_hint_cmd_id`. */
  | 'config-device-field'
  /** The field belongs to a feature that was not negotiated (G25). */
  | 'config-not-negotiated'
  /** Config space is not written before FEATURES_OK (G30), nor once FAILED is set. */
  | 'config-wrong-status'
  /** `poison_val` written with DRIVER_OK set (N55, N56). */
  | 'config-after-driver-ok';

/** What decides whether a write is allowed just now. */
export interface ConfigAccess {
  /** The device status byte. */
  readonly status: number;
  readonly negotiated: Features;
}

/** One copy of the config space: the device's own, or the driver's mirror of it. */
export class ConfigSpace {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  #generation: number;

  /** `initial` is a size in bytes (all zero) or content, which is copied. */
  constructor(initial: number | Uint8Array, generation = 0) {
    this.#bytes = typeof initial === 'number' ? new Uint8Array(initial) : initial.slice();
    this.#view = new DataView(this.#bytes.buffer);
    this.#generation = generation >>> 0;
  }

  get sizeBytes(): number {
    return this.#bytes.length;
  }

  /** Differs after every change by the device (G80); a driver's own write cannot tear a read. */
  get generation(): number {
    return this.#generation;
  }

  /** The content, valid until the next write: copy what is kept. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  has(name: ConfigFieldName): boolean {
    return OFFSETS[name] + 4 <= this.sizeBytes;
  }

  /**
   * A field that is not there is our mistake: a driver checks the feature (G25) and, once, that
   * the device's space has at least configSizeBytes of the offered features (G26, G27).
   */
  read(name: ConfigFieldName): number {
    assert(this.has(name), 'config field read past the end');
    return this.#view.getUint32(OFFSETS[name], true);
  }

  /** The device changes a field; returns whether it differs from before. */
  deviceWrite(name: ConfigFieldName, value: number): boolean {
    assert(this.has(name), 'config field written past the end');
    if (value < 0 || value > 0xffff_ffff) fail('config value is no 32-bit number', `${value}`);
    if (this.read(name) === value) return false;
    this.#view.setUint32(OFFSETS[name], value, true);
    this.#generation = (this.#generation + 1) >>> 0;
    return true;
  }

  /**
   * A driver's write: stored when it is allowed, else left out and named. An allowed write is one
   * whole field, so `offset` tells the caller which one.
   */
  driverWrite(offset: number, data: Uint8Array, access: ConfigAccess): ConfigViolation | undefined {
    const violation = this.#judge(offset, data.length, access);
    if (violation === undefined) this.#bytes.set(data, offset);
    return violation;
  }

  /** The driver's mirror takes over what the device sent; false where the size changed. */
  load(content: Uint8Array, generation: number): boolean {
    if (content.length !== this.sizeBytes) return false;
    this.#bytes.set(content);
    this.#generation = generation >>> 0;
    return true;
  }

  #judge(offset: number, length: number, access: ConfigAccess): ConfigViolation | undefined {
    if (offset + length > this.sizeBytes) return 'config-past-end';
    const field = FIELDS.find((row) => offset >= row.offset && offset < row.offset + row.bytes);
    if (field === undefined) return 'config-past-end';
    if (offset !== field.offset || length < field.bytes) return 'config-partial';
    if (length > field.bytes) return 'config-several-fields';
    if (field.writer === 'device') return 'config-device-field';
    if (field.feature !== undefined && !hasFeature(access.negotiated, field.feature)) {
      return 'config-not-negotiated';
    }
    if (!statusAllows(access.status, 'config')) return 'config-wrong-status';
    const late = field.when === 'before-driver-ok' && (access.status & DRIVER_OK) !== 0;
    return late ? 'config-after-driver-ok' : undefined;
  }
}

assert(configSizeBytes(0n) === 8, 'num_pages and actual are always there');
assert(
  FIELDS.every(({ offset, bytes }) => offset % bytes === 0 && offset + bytes <= CONFIG_BYTES_MAX),
  'config fields are aligned and fit the structure',
);
