import type { Machine, MachineEvent } from '../../vmm/machine.ts';
import type { JsonLimit } from './json-builder.ts';
import { QmpSession } from './session.ts';
import type { QmpSettings } from './settings.ts';
import { EventThrottle, type TimerSource } from './throttle.ts';

export interface QmpMonitorOptions {
  readonly machine: Machine;
  readonly settings: QmpSettings;
  /** For the throttle of events. */
  readonly timers: TimerSource;
  /** Told when a client's request is beyond a limit. */
  readonly onLimit?: (limit: JsonLimit) => void;
}

/**
 * A machine's QMP without its sockets: the sessions of its clients and the events they share. The
 * throttle counts events whether a client listens or not, as QEMU's does.
 *
 * Not emulated: throttles of other events (no other event of Puff's has one), pretty printing.
 */
export class QmpMonitor {
  readonly #options: QmpMonitorOptions;
  readonly #sessions = new Set<QmpSession>();
  readonly #throttle: EventThrottle;
  readonly #unsubscribe: () => void;

  constructor(options: QmpMonitorOptions) {
    this.#options = options;
    this.#throttle = new EventThrottle(options.timers, (event) => this.#broadcast(event));
    this.#unsubscribe = options.machine.onEvent((event) => this.#queue(event));
  }

  /** Greets a client. Its replies and events go to `output`, line by line. */
  open(output: (text: string) => void): QmpSession {
    const { machine, settings, onLimit } = this.#options;
    const session = new QmpSession({ machine, settings, output, onLimit });
    this.#sessions.add(session);
    session.greet();
    return session;
  }

  /** Forgets a client. */
  drop(session: QmpSession): void {
    session.close();
    this.#sessions.delete(session);
  }

  /** Stops listening to the machine and drops every client. */
  close(): void {
    this.#unsubscribe();
    this.#throttle.close();
    for (const session of [...this.#sessions]) this.drop(session);
  }

  #queue(event: MachineEvent): void {
    if (event.event === 'BALLOON_CHANGE') this.#throttle.queue(event);
    else this.#broadcast(event);
  }

  #broadcast(event: MachineEvent): void {
    for (const session of [...this.#sessions]) session.deliver(event);
  }
}
