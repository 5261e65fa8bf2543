/**
 * Named event counters, part of the interface: a refused input, a limit that was hit and a vmstat
 * event each have one. Names are given at construction, so a misspelt one is a type error. Only
 * what was counted takes memory: of the 60 of a guest's device nearly all stay 0.
 */
export class Counters<Name extends string> {
  readonly #names: readonly Name[];
  readonly #values: Partial<Record<Name, number>> = {};

  /** `names` is kept, not copied: one list serves all counters of a kind. */
  constructor(names: readonly Name[]) {
    this.#names = names;
  }

  add(name: Name, amount = 1): void {
    this.#values[name] = this.get(name) + amount;
  }

  get(name: Name): number {
    return this.#values[name] ?? 0;
  }

  /** A copy of all values, for statistics and dumps. */
  snapshot(): Record<Name, number> {
    const values = this.#names.map((name) => [name, this.get(name)]);
    return Object.fromEntries(values) as Record<Name, number>;
  }
}
