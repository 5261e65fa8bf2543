/**
 * Blanks out comments, strings, template text and regular expressions of TypeScript source, so
 * that a bracket or a word that is left is code. Length and line breaks stay, so positions in the
 * result are positions in the source. Correct for code that Biome formatted, not for all there is.
 */
export function maskCode(text: string): string {
  return new Masker(text).run();
}

/** After one of these a slash starts a regular expression; after anything else it divides. */
const BEFORE_REGEX =
  /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|else|void|await|yield|throw))\s*$/;
const LOOK_BACK = 24;

class Masker {
  readonly #text: string;
  #at = 0;
  #out = '';
  /** Open braces inside each `${` we are in, innermost last. */
  readonly #braces: number[] = [];

  constructor(text: string) {
    this.#text = text;
  }

  run(): string {
    while (this.#at < this.#text.length) this.#next();
    return this.#out;
  }

  #next(): void {
    const two = this.#text.slice(this.#at, this.#at + 2);
    const one = two[0] ?? '';
    const depth = this.#braces.length - 1;
    if (two === '//') this.#blankTo(this.#find('\n', 2));
    else if (two === '/*') this.#blankTo(this.#find('*/', 2) + 2);
    else if (one === "'" || one === '"') this.#blankString(one);
    else if (one === '`') this.#blankTemplate();
    else if (one === '/' && BEFORE_REGEX.test(this.#out.slice(-LOOK_BACK))) this.#blankRegex();
    else if (one === '}' && this.#braces[depth] === 0) {
      this.#braces.pop();
      this.#blankTemplate();
    } else {
      if (depth >= 0 && one === '{') this.#braces[depth] = (this.#braces[depth] ?? 0) + 1;
      if (depth >= 0 && one === '}') this.#braces[depth] = (this.#braces[depth] ?? 0) - 1;
      this.#keep();
    }
  }

  #find(what: string, skip: number): number {
    const found = this.#text.indexOf(what, this.#at + skip);
    return found < 0 ? this.#text.length : found;
  }

  #blankTo(end: number): void {
    this.#out += this.#text.slice(this.#at, end).replace(/[^\n]/g, ' ');
    this.#at = end;
  }

  #blankString(quote: string): void {
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== quote) {
      end += this.#text[end] === '\\' ? 2 : 1;
    }
    this.#keep();
    this.#blankTo(end);
    this.#keep();
  }

  /** From a backquote or the brace that ends a substitution to the next substitution or the end. */
  #blankTemplate(): void {
    if (this.#text[this.#at] === '`') this.#keep();
    else this.#blankTo(this.#at + 1);
    let end = this.#at;
    for (; end < this.#text.length && this.#text[end] !== '`'; end++) {
      if (this.#text[end] === '\\') end++;
      else if (this.#text.startsWith('${', end)) {
        this.#blankTo(end + 2);
        this.#braces.push(0);
        return;
      }
    }
    this.#blankTo(end);
    this.#keep();
  }

  /** Quotes stay, so that an argument made of a string is not an empty one. */
  #keep(): void {
    this.#out += this.#text[this.#at] ?? '';
    this.#at++;
  }

  #blankRegex(): void {
    let end = this.#at + 1;
    let inClass = false;
    for (; end < this.#text.length && (inClass || this.#text[end] !== '/'); end++) {
      if (this.#text[end] === '\\') end++;
      else if (this.#text[end] === '[') inClass = true;
      else if (this.#text[end] === ']') inClass = false;
    }
    this.#blankTo(end + 1);
  }
}
