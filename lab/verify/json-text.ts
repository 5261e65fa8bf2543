/**
 * The text of a member's value, as it stands in a line that is known to be a JSON object. Parsing
 * and writing a value again would round integers above 2^53, and a recorded request has to be
 * replayed with the bytes it had. undefined if the object has no such member.
 */
export function memberText(line: string, name: string): string | undefined {
  let at = line.indexOf('{') + 1;
  for (;;) {
    at = skipSpace(line, at);
    if (line[at] !== '"') return undefined;
    const keyEnd = skipString(line, at);
    const key: unknown = JSON.parse(line.slice(at, keyEnd));
    const start = skipSpace(line, skipSpace(line, keyEnd) + 1);
    const end = skipValue(line, start);
    if (key === name) return line.slice(start, end);
    at = skipSpace(line, end);
    if (line[at] !== ',') return undefined;
    at++;
  }
}

function skipSpace(line: string, from: number): number {
  let at = from;
  while (at < line.length && /\s/.test(line.charAt(at))) at++;
  return at;
}

/** `from` is at the opening quote; returns the place after the closing one. */
function skipString(line: string, from: number): number {
  let at = from + 1;
  while (at < line.length && line[at] !== '"') at += line[at] === '\\' ? 2 : 1;
  return at + 1;
}

function skipValue(line: string, from: number): number {
  if (line[from] === '"') return skipString(line, from);
  let depth = 0;
  let at = from;
  while (at < line.length) {
    const character = line.charAt(at);
    if (character === '"') {
      at = skipString(line, at);
      continue;
    }
    if (depth === 0 && /[,}\s]/.test(character)) return at;
    if (character === '{' || character === '[') depth++;
    if (character === '}' || character === ']') depth--;
    at++;
    if (depth === 0 && /[}\]]/.test(character)) return at;
  }
  return at;
}
