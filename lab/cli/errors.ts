/** Exit codes of every puff command, as `puff --help` lists them. */
export const EXIT = {
  ok: 0,
  /** A comparison found a difference, a step of a scenario failed. */
  different: 1,
  /** Wrong flags, unusable input, a port or file that cannot be had. */
  unusable: 2,
  /** A defect of Puff itself. */
  defect: 70,
} as const;

/** Something the caller can mend: printed as one line, exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Tells of the world around us, and so is no defect. */
export function isExpected(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  return EXPECTED.has(error.name) || isSystemError(error) || isSystemError(error.cause);
}

/** The one line for an error; a defect of our own keeps its stack. */
export function errorLine(error: unknown): string {
  if (isExpected(error)) return `puff: ${oneLine(error.message)}`;
  return `puff: a defect: ${error instanceof Error ? error.stack : String(error)}`;
}

/** Text of whatever origin on one line: no line break, nothing that moves a terminal's cursor. */
export function oneLine(text: string): string {
  return text
    .trim()
    .replace(/\s*[\r\n]\s*/g, ' ')
    .replace(/\p{Cc}|[\u2028\u2029]/gu, (character) => {
      return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
    });
}

/** Errors of Node itself have a code as well; a failed call to the system has its name too. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

const EXPECTED = new Set([
  'UsageError',
  'SizeError',
  'ScenarioError',
  'StepFailed',
  'UnusableRecording',
  'ControlError',
  'ControlRequestError',
  'ProcessError',
  'FleetError',
  'FleetTimeout',
  'QmpError',
  'QmpConnectionError',
  'ListenError',
  'DeviceOptionError',
  'StoreError',
  'ExposureError',
  'TlsError',
  'PackedFileError',
  'ImageError',
  'UnusableTrace',
  'BalloonChoiceError',
]);
