import { assert } from '../../shared/lib/assert.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import type { Counters } from '../../shared/lib/counters.ts';
import type { Log } from '../../shared/lib/log.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { writeQueueSizes } from '../../shared/protocol/bodies.ts';
import { ProtocolError } from '../../shared/protocol/errors.ts';
import {
  type Avail,
  type Bye,
  type DeviceMessage,
  type GuestToHost,
  Op,
  type Unplugged,
} from '../../shared/protocol/messages.ts';
import {
  CONFIG_ACTUAL,
  type QueueName,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_ID_BALLOON,
} from '../../shared/virtio/balloon.ts';
import { DRIVER_OK, statusAllows } from '../../shared/virtio/device-status.ts';
import { type Features, fromWords, hasFeature, toWords } from '../../shared/virtio/features.ts';
import { DeviceQueue } from '../../shared/virtio/virtqueue.ts';
import type { RamLedger } from '../ram/ledger.ts';
import type { BalloonControl, BalloonProperties, GuestStats } from '../vmm/machine.ts';
import { DeviceConfig } from './device-config.ts';
import type { DeviceCounter } from './device-counters.ts';
import type { DevicePort } from './device-port.ts';
import { takeHint } from './hint-buffers.ts';
import { type HintAction, HintRounds, type HintStatus } from './hint-rounds.ts';
import { Negotiation } from './negotiation.ts';
import { type Offer, offerOf } from './offer.ts';
import { type BufferContext, takeDeflateBuffer, takeInflateBuffer } from './pfn-buffers.ts';
import { takeReport } from './report-buffers.ts';
import { StatsQueue } from './stats-queue.ts';
import {
  Checks,
  type NegotiationRefusal,
  type Violation,
  type ViolationPolicy,
} from './violations.ts';

/** What a driver may send a device: not its machine's farewell, nor the slot's. */
export type DriverMessage = Exclude<GuestToHost, Bye | Unplugged>;

export interface BalloonDeviceOptions {
  readonly qomId: string;
  readonly properties: BalloonProperties;
  readonly policy: ViolationPolicy;
  readonly ledger: RamLedger;
  /** The machine's clock: it stands still while the machine is paused. */
  readonly clock: Clock;
  readonly port: DevicePort;
  readonly counters: Counters<DeviceCounter>;
  readonly log: Log;
  /** Target at power-on, in bytes that remain to the guest; all of RAM when left out. */
  readonly targetBytes?: number;
  /** Seconds between two requests for statistics at power-on; 0 when left out. */
  readonly pollingIntervalSeconds?: number;
  /** The driver wrote a different `actual`; the argument is RAM less the balloon. */
  onActualChanged(actualBytes: number): void;
  /** A controller changes a setting. Called before it takes effect; what it throws refuses it. */
  onSetting?(setting: BalloonSettings): void;
}

/** What a controller can set, in the units of BalloonControl. */
export interface BalloonSettings {
  readonly targetBytes: number;
  readonly pollingIntervalSeconds: number;
}

/** Where free page hinting stands, as a controller is told. */
export interface HintSummary {
  readonly status: HintStatus;
  /** Id of the newest round. */
  readonly id: number;
  /** Frames that a migration under way would leave out. */
  readonly hintedPages: number;
}

const NOTHING = new Uint8Array(0);

interface Queue {
  readonly name: QueueName;
  readonly queue: DeviceQueue;
}

/**
 * The device half of virtio-balloon, behaving as QEMU 7.2's: negotiation, config space, the five
 * queues, statistics and the ledger behind it. What a driver does wrong is judged in
 * violations.ts.
 *
 * Not emulated: rings, interrupt registers and notification suppression, the legacy interface,
 * migration (hinted frames are marked and that is all), inhibition of discards, host pages larger
 * than 4096 bytes.
 */
export class BalloonDevice implements BalloonControl {
  readonly qomId: string;
  readonly properties: BalloonProperties;
  readonly #options: BalloonDeviceOptions;
  readonly #ramBytes: number;
  readonly #offer: Offer;
  readonly #config: DeviceConfig;
  readonly #negotiation: Negotiation;
  readonly #queues: readonly Queue[];
  readonly #checks: Checks;
  readonly #stats: StatsQueue;
  readonly #hints = new HintRounds();
  readonly #buffers: BufferContext;

  constructor(options: BalloonDeviceOptions) {
    const { ledger, counters, port, clock, properties } = options;
    this.qomId = options.qomId;
    this.properties = properties;
    this.#options = options;
    this.#ramBytes = ledger.pageCount * PAGE_SIZE;
    this.#offer = offerOf(properties);
    this.#config = new DeviceConfig(this.#offer.configBytes, port);
    this.#negotiation = new Negotiation(this.#offer);
    const { queues, queueSizes } = this.#offer;
    this.#queues = queues.map((name, at) => ({ name, queue: new DeviceQueue(queueSizes[at]) }));
    this.#checks = new Checks(options.policy, counters, (violation) => this.#break(violation));
    const statsIndex = queues.indexOf('stats');
    this.#stats = new StatsQueue({
      clock,
      checks: this.#checks,
      port: {
        mayReturn: () => this.#negotiation.live,
        giveBack: (id) => this.#giveBack(statsIndex, id),
      },
    });
    this.#buffers = { ledger, counters, port, checks: this.#checks };
    this.#config.set('num_pages', this.#pagesFor(options.targetBytes ?? this.#ramBytes));
    this.#stats.setInterval(options.pollingIntervalSeconds ?? 0);
  }

  get status(): number {
    return this.#negotiation.status;
  }

  get driverOk(): boolean {
    return this.#negotiation.live;
  }

  get offered(): Features {
    return this.#offer.features;
  }

  get negotiated(): Features {
    return this.#negotiation.negotiated;
  }

  get actualBytes(): number {
    return this.#ramBytes - this.#config.read('actual') * PAGE_SIZE;
  }

  get targetBytes(): number {
    return this.#ramBytes - this.#config.read('num_pages') * PAGE_SIZE;
  }

  get stats(): GuestStats {
    return this.#stats.stats;
  }

  get statsNegotiated(): boolean {
    return hasFeature(this.negotiated, VIRTIO_BALLOON_F_STATS_VQ);
  }

  get pollingIntervalSeconds(): number {
    return this.#stats.intervalSeconds;
  }

  set pollingIntervalSeconds(seconds: number) {
    const { targetBytes } = this;
    this.#options.onSetting?.({ targetBytes, pollingIntervalSeconds: seconds });
    this.#stats.setInterval(seconds);
  }

  /** Buffers the driver waits for; the statistics buffer, which rests here, is not one of them. */
  get buffersInFlight(): number {
    return this.#queues.reduce(
      (sum, { name, queue }) => sum + (name === 'stats' ? 0 : queue.inFlight),
      0,
    );
  }

  /**
   * Sets the target and notifies the driver, also when it is the same as before: a guest that
   * deflated on OOM inflates again then. 0 is ignored, more than RAM means RAM (6.2).
   */
  setTargetBytes(bytes: number): void {
    if (bytes <= 0) return;
    const pageCount = this.#pagesFor(bytes);
    this.#options.onSetting?.({
      targetBytes: this.#ramBytes - pageCount * PAGE_SIZE,
      pollingIntervalSeconds: this.pollingIntervalSeconds,
    });
    this.#config.set('num_pages', pageCount);
    this.#announceConfig();
  }

  /** The driver can be asked for hints (virtio_balloon_free_page_support). */
  get hintNegotiated(): boolean {
    return hasFeature(this.negotiated, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
  }

  get hints(): HintSummary {
    const { status, id } = this.#hints;
    return { status, id, hintedPages: this.#options.ledger.hinted.pageCount };
  }

  /**
   * What a migration does: starts a round of free page hinting, stops it, or is done with all
   * rounds, which ends every hint (N51, N52). Only while `hintNegotiated`.
   */
  hint(action: HintAction): void {
    assert(this.hintNegotiated, 'hints are asked for where they were negotiated');
    if (action === 'done') this.#options.ledger.hinted.clear();
    if (!this.#hints.act(action)) return;
    this.#config.set('free_page_hint_cmd_id', this.#hints.shownId);
    this.#announceConfig();
  }

  /** The device as a guest finds it at power-on. */
  describe(): DeviceMessage {
    const [low, high] = toWords(this.#offer.features);
    const sizes = writeQueueSizes(this.#offer.queueSizes);
    const { generation, bytes } = this.#config;
    return [Op.device, VIRTIO_ID_BALLOON, low, high, sizes, generation, bytes];
  }

  /** The machine stands still: notifications are held back until `resume`. */
  pause(): void {
    this.#config.hold();
  }

  resume(): void {
    this.#config.release();
  }

  /** Ends the device's timer; the machine has no use for it any more. */
  stop(): void {
    this.#stats.stop();
  }

  /** Takes a message of the driver. Throws ProtocolError where the wire protocol was broken. */
  handle(message: DriverMessage): void {
    switch (message[0]) {
      case Op.status:
        this.#writeStatus(message[1]);
        break;
      case Op.features:
        this.#writeFeatures(fromWords(message[1], message[2]));
        break;
      case Op.queue:
        this.#enableQueue(message[1], message[2]);
        break;
      case Op.configWrite:
        this.#writeConfig(message[1], message[2]);
        break;
      case Op.avail:
        this.#takeBuffer(message);
    }
  }

  #pagesFor(remainingBytes: number): number {
    return Math.floor((this.#ramBytes - Math.min(remainingBytes, this.#ramBytes)) / PAGE_SIZE);
  }

  /** Each write is answered with the byte the device now shows (G20, G87 for a reset). */
  #writeStatus(written: number): void {
    if (written === 0) {
      this.#reset();
    } else {
      const violation = this.#negotiation.judge(written);
      if (violation === undefined || !this.#checks.violated(violation)) {
        const refusal = this.#negotiation.store(written);
        if (refusal !== undefined) this.#refuseSubset(refusal);
      }
    }
    this.#sendStatus(true);
  }

  #refuseSubset(refusal: NegotiationRefusal): void {
    this.#options.counters.add(refusal);
    this.#options.log.warn({ refusal }, 'FEATURES_OK is left clear');
  }

  /** `answer` tells the driver whether this is what it waits for after a status write. */
  #sendStatus(answer: boolean): void {
    this.#options.port.send([Op.statusValue, this.#negotiation.status, answer]);
  }

  #writeFeatures(features: Features): void {
    const wrong = !this.#negotiation.mayAccept();
    if (wrong && this.#checks.violated('features-wrong-status')) return;
    this.#negotiation.accept(features);
  }

  #enableQueue(index: number, size: number): void {
    const { queue } = this.#queueAt(index);
    const wrong = !statusAllows(this.status, 'queues');
    if (wrong && this.#checks.violated('queue-wrong-status')) return;
    const violation = queue.enable(size);
    if (violation === undefined) return;
    assert(
      violation === 'queue-bad-size' || violation === 'queue-enabled-twice',
      'enabling a queue can fail in two ways',
    );
    this.#checks.violated(violation);
  }

  #writeConfig(offset: number, bytes: Uint8Array): void {
    const before = this.#config.read('actual');
    const access = { status: this.status, negotiated: this.negotiated };
    const violation = this.#config.driverWrite(offset, bytes, access);
    if (violation !== undefined) {
      // The driver's mirror may hold what it wrote: show it what there is.
      if (!this.#checks.violated(violation)) this.#config.announce(false);
      return;
    }
    const changed = offset === CONFIG_ACTUAL && this.#config.read('actual') !== before;
    if (changed) this.#options.onActualChanged(this.actualBytes);
  }

  /** Tells the driver about a changed config space, by interrupt where it may get one (G21). */
  #announceConfig(): void {
    const interrupt = (this.status & DRIVER_OK) !== 0;
    if (interrupt) this.#options.counters.add('config_interrupts');
    this.#config.announce(interrupt);
  }

  #queueAt(index: number): Queue {
    const queue = this.#queues[index];
    if (queue === undefined) throw new ProtocolError('bad-queue', `queue ${index}`);
    return queue;
  }

  #takeBuffer([, index, id, readable, writable]: Avail): void {
    const { name, queue } = this.#queueAt(index);
    const refused = queue.accept(id);
    if (refused === 'not-enabled') throw new ProtocolError('bad-queue', `queue ${index}`);
    if (refused !== undefined) throw new ProtocolError('QUEUE_CREDIT', `${refused} ${id}`);
    if (this.#negotiation.stopped) {
      this.#options.counters.add('ignored_buffers');
      return;
    }
    const early = !this.#negotiation.live;
    if (early && this.#checks.violated('buffer-before-driver-ok')) return;
    const taken = queue.pop();
    assert(taken === id, 'a live device leaves no buffer waiting');
    const entries = writable.length / 12 + Number(readable.length > 0);
    if (this.#checks.violatedBy('chain-too-long', Number(entries > queue.size))) return;
    if (this.#process(name, id, readable, writable)) this.#giveBack(index, id);
  }

  /** True when the buffer goes back to the driver at once. */
  #process(name: QueueName, id: number, readable: Uint8Array, writable: Uint8Array): boolean {
    const { checks, counters } = this.#buffers;
    const wrongWay = name === 'reporting' ? readable : name === 'free_page' ? NOTHING : writable;
    if (checks.violatedBy('buffer-wrong-direction', Number(wrongWay.length > 0))) return false;
    switch (name) {
      case 'inflate':
        return takeInflateBuffer(readable, this.#buffers);
      case 'deflate':
        return takeDeflateBuffer(readable, this.#buffers);
      case 'stats':
        counters.add('stats_buffers');
        this.#stats.take(id, readable);
        return false;
      case 'free_page':
        return this.#takeHint(readable, writable);
      case 'reporting':
        return takeReport(writable, this.#config.read('poison_val'), this.#buffers);
    }
  }

  /** A round that was taken up or ended by the driver shows in config space, by no interrupt. */
  #takeHint(readable: Uint8Array, writable: Uint8Array): boolean {
    const taken = takeHint(readable, writable, this.#hints, this.#buffers);
    const { shownId } = this.#hints;
    if (this.#config.set('free_page_hint_cmd_id', shownId)) this.#config.announce(false);
    return taken;
  }

  /** Returns a buffer; a balloon device writes nothing into it, so its length is 0. */
  #giveBack(index: number, id: number): void {
    this.#queues[index].queue.use(id);
    this.#options.port.send([Op.used, index, id, 0]);
  }

  /** G06, and G07 where DRIVER_OK is set. */
  #break(violation: Violation): void {
    if (this.#negotiation.needsReset) return;
    const { counters, log } = this.#options;
    counters.add('needs_reset');
    log.error({ violation }, 'the driver was refused, the device needs a reset');
    this.#negotiation.setNeedsReset();
    this.#sendStatus(false);
    if ((this.status & DRIVER_OK) !== 0) this.#announceConfig();
  }

  /**
   * As QEMU: queues, poison and a hinting round go, `num_pages` and `actual` stay; the ledger is
   * emptied.
   */
  #reset(): void {
    const { counters, ledger } = this.#options;
    counters.add('resets');
    this.#negotiation.reset();
    for (const { queue } of this.#queues) queue.reset();
    this.#stats.reset();
    counters.add('emptied_pages', ledger.reset());
    this.#hints.act('stop');
    const hadPoison = this.#config.set('poison_val', 0);
    const hadRound = this.#config.set('free_page_hint_cmd_id', this.#hints.shownId);
    if (hadPoison || hadRound) this.#config.announce(false);
  }
}
