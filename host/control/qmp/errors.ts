import { KeepError } from '../../vmm/guest-keeper.ts';

/** QMP's error classes; no others exist. */
export type QmpErrorClass =
  | 'GenericError'
  | 'CommandNotFound'
  | 'DeviceNotActive'
  | 'DeviceNotFound'
  | 'KVMMissingCap';

/** A command's refusal: becomes `{"error": {"class", "desc"}}` and ends nothing else. */
export class QmpCommandError extends Error {
  override readonly name = 'QmpCommandError';
  readonly errorClass: QmpErrorClass;

  constructor(desc: string, errorClass: QmpErrorClass = 'GenericError') {
    super(desc);
    this.errorClass = errorClass;
  }
}

/** QEMU's text for an object or device that does not exist. */
export function deviceNotFound(path: string): QmpCommandError {
  return new QmpCommandError(`Device '${path}' not found`, 'DeviceNotFound');
}

/** QEMU's text for a value of the wrong JSON type. */
export function wrongType(parameter: string, expected: string): QmpCommandError {
  const desc = `Invalid parameter type for '${parameter}', expected: ${expected}`;
  return new QmpCommandError(desc);
}

/** QEMU's text for a value of the right type that does not fit. */
export function badValue(parameter: string, expected: string): QmpCommandError {
  return new QmpCommandError(`Parameter '${parameter}' expects ${expected}`);
}

/** What a command threw, as its reply; throws on what is a defect. */
export function asRefusal(error: unknown): QmpCommandError {
  if (error instanceof QmpCommandError) return error;
  if (error instanceof KeepError) return new QmpCommandError(error.message);
  throw error;
}
