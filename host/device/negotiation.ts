import {
  classifyStatusWrite,
  DEVICE_NEEDS_RESET,
  DRIVER_OK,
  FAILED,
  FEATURES_OK,
  type StatusViolation,
  SUSPEND,
  statusAllows,
} from '../../shared/virtio/device-status.ts';
import type { Features } from '../../shared/virtio/features.ts';
import { judgeSubset, type Offer } from './offer.ts';
import type { NegotiationRefusal } from './violations.ts';

const UNDEFINED_BITS = 0xff & ~(0x0f | SUSPEND | DEVICE_NEEDS_RESET | FAILED);

/**
 * The device status byte and the feature subset that goes with it. The sequence itself is the
 * state machine of shared/virtio/device-status.ts; here is what the device stores.
 */
export class Negotiation {
  readonly #offer: Offer;
  #status = 0;
  /** Written by the driver, without effect until FEATURES_OK. */
  #accepted: Features = 0n;
  #negotiated: Features = 0n;

  constructor(offer: Offer) {
    this.#offer = offer;
  }

  get status(): number {
    return this.#status;
  }

  get negotiated(): Features {
    return this.#negotiated;
  }

  get live(): boolean {
    return statusAllows(this.#status, 'buffers');
  }

  /** DEVICE_NEEDS_RESET or FAILED: nothing is processed until the reset. */
  get stopped(): boolean {
    return (this.#status & (DEVICE_NEEDS_RESET | FAILED)) !== 0;
  }

  get needsReset(): boolean {
    return (this.#status & DEVICE_NEEDS_RESET) !== 0;
  }

  /** What is wrong with a driver's write, or undefined. Changes nothing. */
  judge(written: number): StatusViolation | undefined {
    const verdict = classifyStatusWrite(this.#status, written);
    return typeof verdict === 'number' ? undefined : verdict;
  }

  /**
   * Stores a driver's write that is right or tolerated: without undefined bits, without what only
   * the device sets, and without FEATURES_OK where the subset cannot work (G15). Returns why.
   */
  store(written: number): NegotiationRefusal | undefined {
    const before = this.#status;
    let next = written & ~(UNDEFINED_BITS | SUSPEND | DEVICE_NEEDS_RESET) & 0xff;
    next |= before & (DEVICE_NEEDS_RESET | FAILED);
    let refusal: NegotiationRefusal | undefined;
    if ((next & ~before & FEATURES_OK) !== 0) {
      refusal = judgeSubset(this.#offer, this.#accepted);
      if (refusal === undefined) this.#negotiated = this.#accepted;
      else next &= ~FEATURES_OK;
    }
    const goesLive = (next & ~before & DRIVER_OK) !== 0;
    // A driver that leaves FEATURES_OK out gets what it wrote, as far as it was offered (QEMU).
    if (goesLive && (next & FEATURES_OK) === 0) {
      this.#negotiated = this.#accepted & this.#offer.features;
    }
    this.#status = next;
    return refusal;
  }

  /** The driver writes its subset. True when that is right now; QEMU takes it until FEATURES_OK. */
  mayAccept(): boolean {
    return statusAllows(this.#status, 'features');
  }

  accept(features: Features): void {
    if ((this.#status & FEATURES_OK) === 0) this.#accepted = features;
  }

  setNeedsReset(): void {
    this.#status |= DEVICE_NEEDS_RESET;
  }

  reset(): void {
    this.#status = 0;
    this.#accepted = 0n;
    this.#negotiated = 0n;
  }
}
