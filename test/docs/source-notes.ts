/** What the comments of a source file say of a state machine that is made there. */

/** A call of createMachine with the id it gives. */
export interface MachineCall {
  /** Undefined where the call does not begin with an id. */
  readonly id: string | undefined;
  /** Where the statement begins that it is in. */
  readonly statementAt: number;
}

const CALL = /\bcreateMachine\(\s*(?:\{\s*id: '([^']+)')?/g;

/** The calls of createMachine in a source text, in order. */
export function machineCalls(text: string): MachineCall[] {
  return [...text.matchAll(CALL)].map(({ 1: id, index }) => {
    const statements = [...text.slice(0, index).matchAll(/^(?:export )?const /gm)];
    return { id, statementAt: statements.at(-1)?.index ?? 0 };
  });
}

/**
 * The first sentence said of the machine `id`: by the comment on its statement, by the one on the
 * procedure that is made of it, or by the file's first.
 */
export function sentenceOf(text: string, id: string): string {
  const call = machineCalls(text).find((one) => one.id === id);
  if (call === undefined) throw new Error(`no state machine ${id} in this file`);
  const name = /const (\w+)/.exec(text.slice(call.statementAt))?.[1];
  const procedureAt = text.search(procedureOf(name, '^export const \\w+ '));
  const comment =
    commentBefore(text, call.statementAt) ??
    (procedureAt < 0 ? undefined : commentBefore(text, procedureAt)) ??
    /^\/\*\*[\s\S]*?\*\//m.exec(text)?.[0];
  if (comment === undefined) throw new Error(`no comment says what ${id} is`);
  const sentence = firstSentence(plain(comment));
  return sentence.startsWith(`${id}: `) ? capitalized(sentence.slice(id.length + 2)) : sentence;
}

/**
 * What the comment on each step of a procedure says: its lock, and why. Not every step has one.
 * Effects that are spread in come from a neighbour of the file, which `readNeighbour` gives.
 */
export function stepNotes(
  text: string,
  id: string,
  readNeighbour: (name: string) => string,
): ReadonlyMap<string, string> {
  const call = machineCalls(text).find((one) => one.id === id);
  const name = /const (\w+)/.exec(text.slice(call?.statementAt))?.[1];
  const effects = objectAfter(text, procedureOf(name));
  const shared = [...effects.matchAll(/^ {2,4}\.\.\.(\w+),$/gm)].flatMap(([, spread = '']) => {
    const file = new RegExp(`${spread}[^;]* from '\\./([^']+)'`).exec(text)?.[1];
    if (file === undefined) throw new Error(`${spread} of ${id} is not imported`);
    return notesIn(objectAfter(readNeighbour(file), new RegExp(`^export const ${spread}\\b`, 'm')));
  });
  return new Map([...shared, ...notesIn(effects)]);
}

/** Where a procedure is made of the state machine in the constant `name`. */
function procedureOf(name = '', before = ''): RegExp {
  return new RegExp(`${before}= procedure(?:<[^(]*>)?\\(\\s*${name},`, 'm');
}

/** From what `start` finds to the end of the statement. */
function objectAfter(text: string, start: RegExp): string {
  const at = text.search(start);
  return at < 0 ? '' : text.slice(at, at + text.slice(at).search(/^[)}].*;$/m));
}

function notesIn(effects: string): [step: string, note: string][] {
  const steps = effects.matchAll(/^ {2,4}(\/\*\*(?:(?!\*\/)[\s\S])*\*\/)\n {2,4}(\w+)[:(]/gm);
  return [...steps].map(([, comment = '', step = '']) => [step, plain(comment)]);
}

function commentBefore(text: string, at: number): string | undefined {
  const before = text.slice(0, at).trimEnd();
  if (!before.endsWith('*/')) return undefined;
  return before.slice(before.lastIndexOf('/**'));
}

function plain(comment: string): string {
  return comment
    .replace(/^\/\*\*|\*\/$/g, '')
    .replace(/^\s*\*/gm, '')
    .replace(/\s+/g, ' ')
    .trim();
}

function firstSentence(text: string): string {
  return /^.*?\.(?=\s|$)/.exec(text)?.[0] ?? text;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
