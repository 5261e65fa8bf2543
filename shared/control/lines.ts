/** Lines over a byte stream, without their ends; what stands behind the last one is no line. */
export async function* readLines(
  chunks: AsyncIterable<string>,
  maxLength = Number.POSITIVE_INFINITY,
): AsyncGenerator<string, void, undefined> {
  let pending: string[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    const parts = chunk.split('\n');
    for (const [index, part] of parts.entries()) {
      pending.push(part);
      length += part.length;
      if (length > maxLength) throw new LineTooLong(maxLength);
      if (index === parts.length - 1) break;
      yield pending.join('');
      pending = [];
      length = 0;
    }
  }
}

/** A line of more than `maxLength` characters; reading stops. */
export class LineTooLong extends Error {
  override readonly name = 'LineTooLong';

  constructor(maxLength: number) {
    super(`a line has more than ${maxLength} characters`);
  }
}
