import { allEqual, jsonLine, reportText } from '../verify/report.ts';
import { verifyRecording } from '../verify/run.ts';
import { runRecording } from '../verify/runner.ts';
import { EXIT, oneLine } from './errors.ts';
import { pathOrOwn } from './package-files.ts';

export interface VerifyFlags {
  readonly json?: true;
}

/** What `puff verify` does: a report for each folder as soon as it is compared. */
export function verifyRecordings(directories: readonly string[], flags: VerifyFlags): void {
  let isEqual = true;
  for (const directory of directories) {
    const path = pathOrOwn(directory, `lab/recordings/${directory}`);
    const report = verifyRecording(path, runRecording);
    process.stdout.write(flags.json ? `${jsonLine(report)}\n` : printable(reportText(report)));
    isEqual &&= allEqual(report);
  }
  process.exitCode = isEqual ? EXIT.ok : EXIT.different;
}

/** Names and values are the recording's: they must not move the terminal's cursor. */
function printable(text: string): string {
  return text.split('\n').map(oneLine).join('\n');
}
