import { DriverError } from '../../guest/drivers/driver-core.ts';
import type { Guest } from '../../guest/guest.ts';
import type { FreeListDump } from '../../guest/mm/page/image.ts';
import { QmpMonitor } from '../../host/control/qmp/monitor.ts';
import type { QmpSession } from '../../host/control/qmp/session.ts';
import { DEFAULT_QMP_SETTINGS } from '../../host/control/qmp/settings.ts';
import type { TimerSource } from '../../host/control/qmp/throttle.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { BalloonProperties } from '../../host/vmm/machine.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { VirtualSession } from '../virtual-session.ts';
import { bootImage } from './boot-image.ts';
import { InterruptHold } from './interrupt-hold.ts';
import { observeTrace } from './observed-trace.ts';
import type { Inputs, JsonObject, Observed, ObservedMessage } from './types.ts';

const GUEST_ID = 'recorded';

/**
 * The emulator behind `puff verify`: host and guest as in processes, on the recording's timeline.
 * It is handed inputs and reports what came of them. Bytes go into the QMP session at the moment
 * QEMU served them, and acknowledgements and configuration interrupts reach the guest when the
 * recorded guest acted on them; everything else takes no time.
 */
export function runRecording(inputs: Inputs): Observed {
  const { bootState } = inputs;
  const run = new RecordedRun(inputs, bootState && bootImage(bootState));
  run.boot();
  run.play();
  const { negotiation } = inputs;
  const observed: Observed = { ...run.wire(), qmp: run.messages };
  if (negotiation === undefined) return observed;
  const second = new RecordedRun({
    ...inputs,
    memoryBytes: negotiation.memoryBytes,
    version: negotiation.version,
    programs: [],
    hintRoundsMs: [],
    used: [],
    configInterrupts: [],
  });
  second.boot();
  return { ...observed, negotiation: second.converse(negotiation.requests) };
}

class RecordedRun {
  readonly messages: ObservedMessage[] = [];
  readonly #inputs: Inputs;
  readonly #session: VirtualSession;
  readonly #guest: Guest;
  /** Index of the request fed last. */
  #request = -1;

  /** Without an image the guest is a fresh one of its size. */
  constructor(inputs: Inputs, image?: FreeListDump) {
    this.#inputs = inputs;
    this.#session = new VirtualSession({
      properties: propertiesOf(inputs.deviceOptions),
      policy: QEMU_POLICY,
      wallStartMs: inputs.wallStartMs,
    });
    const hold = new InterruptHold(this.#session.clock, inputs, () => this.#guest.kernel.device);
    this.#guest = this.#session.guest({
      id: GUEST_ID,
      memoryBytes: inputs.memoryBytes,
      ...(image === undefined ? {} : { image }),
      interpose: (message, deliver) => hold.receive(message, deliver),
    });
  }

  /** The driver core takes the device up at the recorded moment. */
  boot(): void {
    const { clock } = this.#session;
    clock.advanceTo(this.#inputs.bootMs);
    this.#guest.start();
    clock.advanceBy(0);
  }

  /** Gives every input at its time. */
  play(): void {
    const { clock } = this.#session;
    const { connectMs, disconnectMs, operator, programs, hintRoundsMs, qmp, throttleExpiriesMs } =
      this.#inputs;
    const monitor = this.#monitor(expiriesAt(clock, throttleExpiriesMs));
    let client: QmpSession | undefined;
    const at = (timeMs: number, action: () => void): void => {
      clock.setTimeout(action, timeMs - clock.now());
    };
    at(connectMs, () => {
      client = monitor.open((text) => this.#read(text));
    });
    for (const [index, { timeMs, bytes }] of qmp.entries()) {
      at(timeMs, () => {
        this.#request = index;
        client?.feed(bytes);
      });
    }
    for (const { timeMs, action } of operator) at(timeMs, () => this.#operate(action));
    for (const { timeMs, program } of programs) {
      at(timeMs, () => this.#guest.run({ ...program, seconds: 0 }));
    }
    for (const timeMs of hintRoundsMs) at(timeMs, () => this.#startHintRound());
    at(disconnectMs, () => client && monitor.drop(client));
    clock.advanceTo(this.#inputs.endMs);
  }

  /** An exchange without times: each request is answered before the next is fed. */
  converse(requests: readonly Uint8Array[]): JsonObject[] {
    const monitor = this.#monitor(this.#session.clock);
    const client = monitor.open((text) => this.#read(text));
    for (const bytes of requests) client.feed(bytes);
    return this.messages.map(({ message }) => message);
  }

  wire(): ReturnType<typeof observeTrace> {
    return observeTrace(this.#session.trace(GUEST_ID));
  }

  #monitor(timers: TimerSource): QmpMonitor {
    const { version } = this.#inputs;
    const settings = {
      ...DEFAULT_QMP_SETTINGS,
      version: version.qemu,
      package: version.package,
    };
    return new QmpMonitor({ machine: this.#session.vm(GUEST_ID), settings, timers });
  }

  #read(text: string): void {
    for (const line of text.split('\r\n')) {
      if (line === '') continue;
      this.messages.push({ request: this.#request, message: messageOf(line) });
    }
  }

  /** As a migration does after it has synchronised its dirty bitmap; not once QEMU has quit. */
  #startHintRound(): void {
    const balloon = this.#session.vmm.vms.get(GUEST_ID)?.balloon;
    if (balloon?.hintNegotiated) balloon.hint('start');
  }

  /** What the driver's state forbids did not happen: the comparison will show it. */
  #operate(action: Inputs['operator'][number]['action']): void {
    try {
      this.#guest.verb(action);
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
    }
  }
}

/**
 * Puff writes an id as QEMU does, and a number beyond all doubles as inf, which is no JSON. No
 * recording can have such a line, so that it is no reply to compare.
 */
function messageOf(line: string): JsonObject {
  try {
    return JSON.parse(line) as JsonObject;
  } catch {
    return { line };
  }
}

/** A timer that expires at the next of the given moments; behind the last one, by its own delay. */
function expiriesAt(clock: Clock, expiriesMs: readonly number[]): TimerSource {
  return {
    setTimeout: (callback, delayMs) => {
      const nowMs = clock.now();
      const nextMs = expiriesMs.find((timeMs) => timeMs > nowMs) ?? nowMs + delayMs;
      return clock.setTimeout(callback, nextMs - nowMs);
    },
    clearTimeout: (handle) => clock.clearTimeout(handle),
  };
}

/** Device options as recorded: those that are no property of the balloon change nothing here. */
function propertiesOf(options: Readonly<Record<string, string>>): BalloonProperties {
  const given = Object.entries(options)
    .filter(([name]) => name in DEFAULT_PROPERTIES)
    .map(([name, value]) => [name, value === 'on' || value === 'true']);
  return { ...DEFAULT_PROPERTIES, ...Object.fromEntries(given) };
}
