import { lineOf, type SourceFile, splitList } from './scan.ts';

/** A function, method or arrow function with where it stands and how many parameters it takes. */
export interface FoundFunction {
  readonly line: number;
  /** From its first line to the one of its closing brace; 1 for an arrow without a body. */
  readonly lineCount: number;
  readonly parameterCount: number;
  /** The callback of `describe`, which holds tests and no logic. */
  readonly isSuite: boolean;
}

interface Group {
  readonly open: number;
  readonly close: number;
}

type BraceKind = 'function' | 'block' | 'literal';

/** An open bracket and what was seen inside since the last statement or list item began. */
interface Frame {
  readonly open: number;
  readonly bracket: string;
  readonly kind: BraceKind;
  readonly parameters: Group | undefined;
  headStart: number;
  groups: Group[];
}

const BLOCK = /^(?:(?:if|for|while|switch|catch|else|do|try|finally|case|default)\b|static$)/;
const DECLARATION = /\b(?:class|interface|enum|namespace)\b.*[^<,:|&]$/s;
const EXPRESSION = /^(?:return|throw|new|await|yield)\b/;

/** Finds functions by their braces and arrows: enough for code that Biome formatted. */
export function functionsOf(file: SourceFile): FoundFunction[] {
  return new FunctionScanner(file).run();
}

class FunctionScanner {
  readonly #file: SourceFile;
  readonly #code: string;
  readonly #found: FoundFunction[] = [];
  readonly #stack: Frame[] = [
    { open: -1, bracket: '', kind: 'block', parameters: undefined, headStart: 0, groups: [] },
  ];

  constructor(file: SourceFile) {
    this.#file = file;
    this.#code = file.code;
  }

  run(): FoundFunction[] {
    for (let at = 0; at < this.#code.length; at++) this.#visit(at);
    return this.#found.sort((a, b) => a.line - b.line);
  }

  get #top(): Frame {
    return this.#stack[this.#stack.length - 1] as Frame;
  }

  #visit(at: number): void {
    const character = this.#code[at] ?? '';
    if (character === '(' || character === '[') this.#open(at, 'literal', undefined);
    else if (character === '{') this.#openBrace(at);
    else if (character === ')' || character === ']' || character === '}') this.#close(at);
    else if (character === ';' || (character === ',' && this.#separatesItems()))
      this.#begin(at + 1);
    else if (character === '=' && this.#code[at + 1] === '>') this.#arrow(at);
  }

  /** In a list or an object a comma begins the next item; in a class it is in a type argument. */
  #separatesItems(): boolean {
    return this.#top.kind === 'literal';
  }

  #begin(at: number): void {
    this.#top.headStart = at;
    this.#top.groups = [];
  }

  #open(at: number, kind: BraceKind, parameters: Group | undefined): void {
    const bracket = this.#code[at] ?? '';
    this.#stack.push({ open: at, bracket, kind, parameters, headStart: at + 1, groups: [] });
  }

  #openBrace(at: number): void {
    const head = this.#head(at);
    const isArrow = head.endsWith('=>');
    const parameters = isArrow ? this.#arrowParameters(at) : this.#methodParameters(head, at);
    if (isArrow || parameters !== undefined) this.#open(at, 'function', parameters);
    else this.#open(at, this.#isBlock(head) ? 'block' : 'literal', undefined);
  }

  #isBlock(head: string): boolean {
    return !this.#inList && (head === '' || BLOCK.test(head) || DECLARATION.test(head));
  }

  get #inList(): boolean {
    return this.#top.bracket === '(' || this.#top.bracket === '[';
  }

  #close(at: number): void {
    if (this.#stack.length === 1) return;
    const closed = this.#stack.pop() as Frame;
    if (closed.bracket === '(') this.#top.groups.push({ open: closed.open, close: at });
    if (closed.kind === 'function') this.#add(closed, at);
    // After a body or a block something new begins; a literal is a part of what it stands in.
    if (closed.kind !== 'literal') this.#begin(at + 1);
  }

  #head(at: number): string {
    return this.#code.slice(this.#top.headStart, at).trim();
  }

  #add(closed: Frame, end: number): void {
    const { headStart } = this.#top;
    const leading = this.#code.slice(headStart, end).search(/\S/);
    const line = lineOf(this.#code, headStart + Math.max(leading, 0));
    const lineCount = lineOf(this.#code, end) - line + 1;
    const parameterCount = this.#count(closed.parameters);
    const isSuite = this.#top.bracket === '(' && this.#isDescribe(this.#top.open);
    this.#found.push({ line, lineCount, parameterCount, isSuite });
  }

  #isDescribe(open: number): boolean {
    return /\bdescribe[.\w]*$/.test(this.#code.slice(Math.max(0, open - 24), open));
  }

  #count(group: Group | undefined): number {
    if (group === undefined) return 0;
    return splitList(this.#file.code, group.open, group.close).length;
  }

  /** An arrow whose body is an expression; one with braces is added where they close. */
  #arrow(at: number): void {
    if (/^\s*\{/.test(this.#code.slice(at + 2, at + 40))) return;
    const parameterCount = this.#count(this.#arrowParameters(at));
    const line = lineOf(this.#code, at);
    this.#found.push({ line, lineCount: 1, parameterCount, isSuite: false });
  }

  /** The last parentheses that only a return type or nothing separates from the arrow. */
  #arrowParameters(at: number): Group | undefined {
    return this.#top.groups.findLast(({ close }) => {
      const rest = this.#code
        .slice(close + 1, at)
        .replace(/=>\s*$/, '')
        .trim();
      return rest === '' || rest.startsWith(':');
    });
  }

  /** The parameters of a function or method whose body would begin at `at`; undefined if none. */
  #methodParameters(head: string, at: number): Group | undefined {
    const isFunction = /\bfunction\b/.test(head);
    const isOther = this.#inList || EXPRESSION.test(head) || this.#isBlock(head);
    if (!isFunction && isOther) return undefined;
    return this.#top.groups.find(({ open, close }) => {
      const before = this.#code.slice(this.#top.headStart, open);
      if (!isFunction && /[=?]/.test(before)) return false;
      if (isFunction && !/\bfunction\b/.test(before)) return false;
      const rest = this.#code.slice(close + 1, at).trim();
      // After a colon or an open type argument this brace belongs to the return type.
      return rest === '' || /^:.*[^<,:|&\s]$/s.test(rest);
    });
  }
}
