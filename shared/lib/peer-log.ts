import type { Clock } from './clock.ts';
import { escapePeer, type Log } from './log.ts';

export interface PeerLogsOptions {
  readonly log: Log;
  readonly clock: Pick<Clock, 'now'>;
  readonly linesPerSecond: number;
  /** Called for each line that is left out. */
  onLeftOut?(): void;
}

/** Lines of one peer in this second, those left out included. */
type LineCounts = Record<keyof Log, number>;

const LEVELS = ['debug', 'info', 'warn', 'error'] as const;
const SECOND_MS = 1000;

/**
 * A log that no peer can flood or forge lines in: of each peer and level so many lines a second,
 * and every text among the fields is escaped and cut. How many were left out is told with the
 * first line, of whatever peer, after that second; what is remembered of peers is forgotten with
 * it. Levels are counted apart because nobody here knows which of them are written at all.
 */
export class PeerLogs {
  readonly #options: PeerLogsOptions;
  #peers = new Map<string, LineCounts>();
  #secondStartMs = Number.NEGATIVE_INFINITY;

  constructor(options: PeerLogsOptions) {
    this.#options = options;
  }

  /** The log for what concerns `peer`: a guest's id, or an address. */
  of(peer: string): Log {
    return new PeerLog(this, this.#options.log, peer);
  }

  /** Whether one more line of this peer may be written now; if so it is counted. */
  allows(peer: string, level: keyof Log): boolean {
    const { clock, linesPerSecond, onLeftOut } = this.#options;
    const nowMs = clock.now();
    if (nowMs - this.#secondStartMs >= SECOND_MS) this.#beginSecond(nowMs);
    let counts = this.#peers.get(peer);
    if (counts === undefined) {
      counts = { debug: 0, info: 0, warn: 0, error: 0 };
      this.#peers.set(peer, counts);
    }
    if (++counts[level] <= linesPerSecond) return true;
    onLeftOut?.();
    return false;
  }

  #beginSecond(nowMs: number): void {
    const { log, linesPerSecond } = this.#options;
    const before = this.#peers;
    this.#peers = new Map();
    this.#secondStartMs = nowMs;
    for (const [peer, counts] of before) {
      for (const level of LEVELS) {
        const leftOut = counts[level] - linesPerSecond;
        if (leftOut <= 0) continue;
        log[level]({ peer: escapePeer(peer), leftOut }, 'log lines were left out');
      }
    }
  }
}

/** What one peer's lines go through; a host has one for each guest. */
class PeerLog implements Log {
  readonly #logs: PeerLogs;
  readonly #log: Log;
  readonly #peer: string;

  constructor(logs: PeerLogs, log: Log, peer: string) {
    this.#logs = logs;
    this.#log = log;
    this.#peer = peer;
  }

  debug(fields: object, message: string): void {
    if (this.#logs.allows(this.#peer, 'debug')) this.#log.debug(escapeFields(fields), message);
  }

  info(fields: object, message: string): void {
    if (this.#logs.allows(this.#peer, 'info')) this.#log.info(escapeFields(fields), message);
  }

  warn(fields: object, message: string): void {
    if (this.#logs.allows(this.#peer, 'warn')) this.#log.warn(escapeFields(fields), message);
  }

  error(fields: object, message: string): void {
    if (this.#logs.allows(this.#peer, 'error')) this.#log.error(escapeFields(fields), message);
  }
}

function escapeFields(fields: object): object {
  const entries = Object.entries(fields).map(([name, value]) => {
    return [name, typeof value === 'string' ? escapePeer(value) : value];
  });
  return Object.fromEntries(entries);
}
