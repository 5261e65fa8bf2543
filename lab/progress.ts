/**
 * Progress of long work: one bar that is redrawn on a terminal, a plain line at every tenth
 * elsewhere, so that logs stay readable.
 */
export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

const BAR_WIDTH_MAX = 40;
/** Below it a bar tells nothing: it is left out and the percentage stands alone. */
const BAR_WIDTH_MIN = 4;

export class Progress {
  readonly #output: Output;
  readonly #label: string;
  #lastTenth = -1;
  #drawn = false;

  constructor(output: Output, label: string) {
    this.#output = output;
    this.#label = label;
  }

  /** Shows `done` of `total`; `detail` stands behind the bar. */
  show(done: number, total: number, detail = ''): void {
    const part = total === 0 ? 1 : Math.min(1, Math.max(0, done / total));
    if (this.#output.isTTY) {
      this.#output.write(`\r\x1b[K${this.#bar(part, detail)}`);
      this.#drawn = true;
      return;
    }
    const tenth = Math.floor(part * 10);
    if (tenth === this.#lastTenth) return;
    this.#lastTenth = tenth;
    this.#output.write(`${this.#label} ${percent(part)} ${detail}`.trimEnd().concat('\n'));
  }

  /** Ends the line of the bar, so that what follows starts on its own. */
  end(): void {
    if (this.#drawn) this.#output.write('\n');
    this.#drawn = false;
  }

  /** Never as wide as the terminal: a bar that wraps is not redrawn but repeated. */
  #bar(part: number, detail: string): string {
    const columns = this.#output.columns ?? 80;
    const texts = `${this.#label} ${percent(part)} ${detail}`;
    const width = Math.min(BAR_WIDTH_MAX, columns - texts.length - ' []'.length - 1);
    if (width < BAR_WIDTH_MIN) return texts.slice(0, columns - 1);
    const filled = Math.round(part * width);
    const bar = `${'#'.repeat(filled)}${'.'.repeat(width - filled)}`;
    return `${this.#label} [${bar}] ${percent(part)} ${detail}`;
  }
}

function percent(part: number): string {
  return `${Math.floor(part * 100)}%`.padStart(4);
}
