import type { GuestLink, Vm } from '../../../host/vmm/vm.ts';
import { decode } from '../../../shared/protocol/codec.ts';
import type { ProtocolErrorName } from '../../../shared/protocol/errors.ts';
import {
  type GuestToHost,
  type HostToGuest,
  type Message,
  Op,
} from '../../../shared/protocol/messages.ts';
import type { GuestHello } from '../../../shared/transport/hello.ts';
import {
  ACKNOWLEDGE,
  DRIVER,
  DRIVER_OK,
  FEATURES_OK,
} from '../../../shared/virtio/device-status.ts';
import { toWords } from '../../../shared/virtio/features.ts';
import { balloonOf } from '../../support/balloon-of.ts';

/** 64 MiB. */
export const REGIONS = [{ start: 0, count: 16_384 }];
export const RAM_BYTES = 16_384 * 4096;

export function helloOf(changes: Partial<GuestHello> = {}): GuestHello {
  return { guestId: 'vm0', epoch: 1, session: '', received: 0, regions: REGIONS, ...changes };
}

/** Names of the messages a machine's test is about. */
export function opName(message: Message): string {
  const found = Object.entries(Op).find(([, op]) => op === message[0]);
  return found === undefined ? `op ${message[0]}` : found[0];
}

/** The far end of a machine's link: collects what the guest is sent, says what a test says. */
export class GuestEnd implements GuestLink {
  readonly sent: HostToGuest[] = [];
  readonly bufferedBytes = 0;
  closed: ProtocolErrorName | 'terminated' | undefined;
  paused = false;
  readonly #vm: Vm;
  #looked = 0;

  /** Attaches to the machine's session, as an acceptor does between welcome and `linkOpened`. */
  constructor(vm: Vm, kind: 'power-on' | 'resume' = 'power-on', received = 0) {
    this.#vm = vm;
    vm.session?.attach(this, received);
    vm.linkOpened(this, kind);
  }

  sendFrame(frame: Uint8Array): void {
    const message = decode(frame, 'host');
    if (message[0] !== Op.ack) this.sent.push(message as HostToGuest);
  }

  close(error: ProtocolErrorName): void {
    this.#end(error);
  }

  terminate(): void {
    this.#end('terminated');
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  /** What came since the last look. */
  news(): HostToGuest[] {
    const news = this.sent.slice(this.#looked);
    this.#looked = this.sent.length;
    return news;
  }

  say(...messages: GuestToHost[]): void {
    for (const message of messages) this.#vm.session?.receive(message);
  }

  /** The driver initialises the device. */
  bringUp(): void {
    const [low, high] = toWords(balloonOf(this.#vm).offered);
    const driver = ACKNOWLEDGE | DRIVER;
    this.say(
      [Op.status, 0],
      [Op.status, ACKNOWLEDGE],
      [Op.status, driver],
      [Op.features, low, high],
      [Op.status, driver | FEATURES_OK],
      [Op.queue, 0, 128],
      [Op.queue, 1, 128],
      [Op.queue, 2, 128],
      [Op.status, driver | FEATURES_OK | DRIVER_OK],
    );
    this.news();
  }

  #end(reason: ProtocolErrorName | 'terminated'): void {
    if (this.closed !== undefined) return;
    this.closed = reason;
    this.#vm.session?.detach();
    this.#vm.linkEnded(this);
  }
}
