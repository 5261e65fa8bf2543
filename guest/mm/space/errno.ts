/** Errors that a system call returns to the program that made it. */
export type ErrnoCode = 'EEXIST' | 'EINVAL' | 'ENOENT' | 'ENOMEM';

export class Errno extends Error {
  override readonly name = 'Errno';
  readonly code: ErrnoCode;

  constructor(code: ErrnoCode, what: string) {
    super(`${code}: ${what}`);
    this.code = code;
  }
}
