import { beforeEach, describe, expect, it } from 'vitest';
import { Kernel } from '../../../guest/kernel.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { writeQueueSizes } from '../../../shared/protocol/bodies.ts';
import { ProtocolError } from '../../../shared/protocol/errors.ts';
import { type DeviceMessage, type GuestToHost, Op } from '../../../shared/protocol/messages.ts';
import {
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_ID_BALLOON,
} from '../../../shared/virtio/balloon.ts';
import { ACKNOWLEDGE, DRIVER, FEATURES_OK } from '../../../shared/virtio/device-status.ts';
import { featureSet, toWords, VIRTIO_F_VERSION_1 } from '../../../shared/virtio/features.ts';

/** A host that says what a test says, and otherwise answers and returns everything. */
class ScriptedHost {
  readonly clock = new VirtualClock();
  readonly sent: GuestToHost[] = [];
  takesFeatures = true;
  returnsBuffers = true;
  /** The highest status that is answered. */
  answersUpTo = 255;
  readonly kernel = new Kernel({
    memoryBytes: 64 * MIB,
    clock: new PausableClock(this.clock),
    seed: 1,
    linux: '6.1',
    log: SILENT,
    port: { send: (message) => this.#receive(message) },
  });

  get driver() {
    return this.kernel.balloon;
  }

  resize(numPages: number): void {
    this.kernel.handle([Op.config, 1, configOf(numPages), true]);
    this.clock.advanceBy(1_000);
  }

  /** This host dies; another one describes its device. */
  replaceHost(takesFeatures: boolean): void {
    this.kernel.core.hostLost();
    this.takesFeatures = takesFeatures;
    this.kernel.handle(device());
    this.clock.advanceBy(1_000);
  }

  #receive(message: GuestToHost): void {
    this.sent.push(structuredClone(message));
    if (message[0] === Op.avail && this.returnsBuffers)
      this.kernel.handle([Op.used, message[1], message[2], 0]);
    if (message[0] !== Op.status || message[1] > this.answersUpTo) return;
    const shown = this.takesFeatures ? message[1] : message[1] & ~FEATURES_OK;
    this.kernel.handle([Op.statusValue, shown, true]);
  }
}

function configOf(numPages: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(numPages, 0).buffer);
}

interface Description {
  readonly id?: number;
  readonly bits?: readonly number[];
  readonly sizes?: readonly number[];
  readonly config?: Uint8Array;
}

function device(description: Description = {}): DeviceMessage {
  const { id = VIRTIO_ID_BALLOON, bits = [], sizes = [128, 128], config } = description;
  const [low, high] = toWords(featureSet([...bits, VIRTIO_F_VERSION_1]));
  return [Op.device, id, low, high, writeQueueSizes(sizes), 0, config ?? configOf(0)];
}

let host: ScriptedHost;
beforeEach(() => {
  host = new ScriptedHost();
});

describe('what a host says its device is', () => {
  it.each<[string, Description]>([
    ['another device', { id: 1 }],
    ['no queues', { sizes: [] }],
    ['fewer queues than its features bring', { bits: [VIRTIO_BALLOON_F_STATS_VQ] }],
    ['a queue of no entries', { sizes: [128, 0] }],
    ['a queue that is no power of two', { sizes: [100, 128] }],
    ['a queue above what VIRTIO has', { sizes: [128, 65_535] }],
    ['no config space', { config: new Uint8Array(0) }],
    ['a config space too small for a feature', { bits: [VIRTIO_BALLOON_F_PAGE_POISON] }],
    ['a config space above 16 bytes', { config: new Uint8Array(20) }],
  ])('%s is no balloon: a ProtocolError, and the guest is as before', (_name, description) => {
    expect(() => host.kernel.handle(device(description))).toThrow(ProtocolError);
    expect(host.kernel.core.hasDevice).toBe(false);
    expect(host.sent).toEqual([]);
    host.kernel.handle(device());
    host.resize(10);
    expect(host.driver.numPages).toBe(10);
  });

  it('a config space of another size later on is a ProtocolError', () => {
    host.kernel.handle(device());
    const larger = () => host.kernel.handle([Op.config, 1, new Uint8Array(12), true]);
    expect(larger).toThrow(ProtocolError);
    host.resize(10);
    expect(host.driver.numPages).toBe(10);
  });
});

describe('a device where there is one already', () => {
  it('is a new host, whatever the old one still owes: the balloon is told again', () => {
    host.kernel.handle(device());
    host.resize(300);
    host.returnsBuffers = false;
    host.resize(600);
    host.returnsBuffers = true;
    const before = host.sent.length;
    host.kernel.handle(device({ config: configOf(556) }));
    host.clock.advanceBy(1_000);
    const told = host.sent.slice(before).filter(([op]) => op === Op.avail);
    expect(told.map((message) => (message[3] as Uint8Array).length / 4)).toEqual([256, 256, 44]);
    expect(host.driver.numPages).toBe(556);
    expect(host.kernel.memory.verify()).toEqual([]);
  });
});

describe('a host that is replaced while the driver negotiates', () => {
  it('by one with fewer queues: the driver goes on with those of the new one', () => {
    host.answersUpTo = DRIVER | ACKNOWLEDGE;
    const bits = [VIRTIO_BALLOON_F_STATS_VQ];
    host.kernel.handle(device({ bits, sizes: [128, 128, 128] }));
    expect(host.kernel.core.state).toBe('probing');
    host.answersUpTo = 255;
    host.kernel.handle(device({ config: configOf(10) }));
    host.clock.advanceBy(1_000);
    expect(host.kernel.core.state).toBe('bound');
    expect(host.driver.numPages).toBe(10);
  });
});

describe('a hinting round that was asked for by a host that is gone', () => {
  it('is not begun with one that has no queue for it', () => {
    const config = new Uint8Array(Uint32Array.of(10, 0, 0x8000_0001).buffer);
    const bits = [VIRTIO_BALLOON_F_FREE_PAGE_HINT];
    host.answersUpTo = FEATURES_OK | DRIVER | ACKNOWLEDGE;
    host.kernel.handle(device({ bits, sizes: [128, 128, 1024], config }));
    expect(host.kernel.core.state).toBe('probing');
    host.answersUpTo = 255;
    host.kernel.handle(device({ config }));
    host.clock.advanceBy(1_000);
    expect(host.kernel.core.state).toBe('bound');
    expect(host.driver.numPages).toBe(10);
    expect(host.driver.hintedPages).toBe(0);
  });
});

describe('a new host that does not take the driver', () => {
  beforeEach(() => {
    host.kernel.handle(device());
    host.resize(600);
    expect(host.driver.numPages).toBe(600);
    host.replaceHost(false);
  });

  it('leaves no page in a balloon that nobody knows of', () => {
    expect(host.kernel.core.state).toBe('unbound');
    expect(host.driver.numPages).toBe(0);
    expect(host.kernel.memory.verify()).toEqual([]);
  });

  it('may be bound later: the balloon begins empty', () => {
    host.takesFeatures = true;
    host.kernel.verb('bind');
    host.resize(300);
    host.resize(0);
    expect(host.kernel.core.state).toBe('bound');
    expect(host.driver.numPages).toBe(0);
    expect(host.kernel.memory.verify()).toEqual([]);
  });

  it('may be replaced by one that does', () => {
    host.replaceHost(true);
    expect(host.kernel.core.state).toBe('unbound');
    host.kernel.verb('bind');
    host.resize(100);
    expect(host.driver.numPages).toBe(100);
    expect(host.kernel.memory.verify()).toEqual([]);
  });
});
