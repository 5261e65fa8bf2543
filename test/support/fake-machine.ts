import type {
  BalloonControl,
  BalloonProperties,
  GuestStats,
  Machine,
  MachineEvent,
  RunState,
} from '../../host/vmm/machine.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { MIB } from '../../shared/lib/units.ts';

/** A balloon whose guest does nothing: a test sets what the guest would have reported. */
export class FakeBalloon implements BalloonControl {
  qomId = 'balloon0';
  properties: BalloonProperties = {
    'deflate-on-oom': false,
    'free-page-hint': false,
    'free-page-reporting': false,
    'page-poison': true,
    'qemu-4-0-config-size': false,
  };
  actualBytes: number;
  targetBytes: number;
  stats: GuestStats = { values: {}, lastUpdateSeconds: 0 };
  statsNegotiated = true;
  pollingIntervalSeconds = 0;
  readonly #ramBytes: number;

  constructor(ramBytes: number) {
    this.#ramBytes = ramBytes;
    this.actualBytes = ramBytes;
    this.targetBytes = ramBytes;
  }

  setTargetBytes(bytes: number): void {
    this.targetBytes = Math.min(bytes, this.#ramBytes);
  }
}

/** A machine without a guest, for tests of what stands in front of one. */
export class FakeMachine implements Machine {
  readonly id = 'fake';
  readonly ramBytes: number;
  balloon: FakeBalloon | undefined;
  runState: RunState = 'running';
  readonly #clock: Pick<Clock, 'wallMs'>;
  readonly #listeners = new Set<(event: MachineEvent) => void>();

  constructor(ramMib = 512, clock: Pick<Clock, 'wallMs'> = new VirtualClock()) {
    this.ramBytes = ramMib * MIB;
    this.balloon = new FakeBalloon(this.ramBytes);
    this.#clock = clock;
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }

  stop(): void {
    if (this.runState !== 'running') return;
    this.runState = 'paused';
    this.emit('STOP');
  }

  cont(): void {
    if (this.runState !== 'paused') return;
    this.runState = 'running';
    this.emit('RESUME');
  }

  quit(): void {
    this.runState = 'shutdown';
    this.emit('SHUTDOWN', { guest: false, reason: 'host-qmp-quit' });
  }

  /** As if the guest wrote `actual`: this much remains to it. */
  changeBalloon(actualBytes: number): void {
    if (this.balloon !== undefined) this.balloon.actualBytes = actualBytes;
    this.emit('BALLOON_CHANGE', { actual: actualBytes });
  }

  emit(event: MachineEvent['event'], data?: MachineEvent['data']): void {
    const wallMs = this.#clock.wallMs();
    const happened = data === undefined ? { event, wallMs } : { event, data, wallMs };
    for (const listener of [...this.#listeners]) listener(happened);
  }

  onEvent(listener: (event: MachineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
