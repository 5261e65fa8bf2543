import type { z } from 'zod';

/** What is wrong with a value, in one line: `guest: is missing; bytes: Invalid input: ...`. */
export function issueText({ issues }: z.ZodError): string {
  return issues.map(oneIssue).join('; ');
}

function oneIssue({ path, message }: z.core.$ZodIssue): string {
  const text = message.endsWith('received undefined') ? 'is missing' : message;
  return path.length === 0 ? text : `${path.map(String).join('.')}: ${text}`;
}
