/**
 * Guests of one process that connect at the same time. A host lets MAX_PENDING_HANDSHAKES of all
 * its guests in at once and sends the others away for a while: of 500 that dial together most
 * came back twice, which took 3 s.
 */
const CONNECTING_AT_ONCE = 32;

/** What the queue needs of a guest. */
export interface StartsAndEnds {
  readonly id: string;
  readonly ended: Promise<unknown>;
  start(): void;
}

/** Starts guests in order, each when there is room: until then it has not dialled. */
export class StartQueue {
  readonly #waiting: StartsAndEnds[] = [];
  /** Ids of those that were started and have not reached the host yet. */
  readonly #connecting = new Set<string>();

  add(guest: StartsAndEnds): void {
    this.#waiting.push(guest);
    void guest.ended.then(() => this.reached(guest.id));
  }

  /** The guest has a link, for the first time or again, or has come to its end. */
  reached(id: string): void {
    if (this.#connecting.delete(id)) this.startMore();
  }

  startMore(): void {
    while (this.#connecting.size < CONNECTING_AT_ONCE) {
      const guest = this.#waiting.shift();
      if (guest === undefined) return;
      this.#connecting.add(guest.id);
      guest.start();
    }
  }
}
