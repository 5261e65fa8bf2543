#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { CommanderError } from 'commander';
import { EXIT, errorLine, isExpected } from './errors.ts';
import { packagePath } from './package-files.ts';
import { makeProgram } from './program.ts';

interface PackageFile {
  readonly version: string;
}

async function main(): Promise<void> {
  process.on('uncaughtException', (error) => {
    process.stderr.write(`${errorLine(error)}\n`);
    process.exit(isExpected(error) ? EXIT.unusable : EXIT.defect);
  });
  // A reader that went away, as `head` does, is no reason to stop or to complain.
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
    });
  }
  const { version } = JSON.parse(readFileSync(packagePath('package.json'), 'utf8')) as PackageFile;
  try {
    await makeProgram(version).parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.unusable;
      return;
    }
    process.stderr.write(`${errorLine(error)}\n`);
    process.exitCode = isExpected(error) ? EXIT.unusable : EXIT.defect;
  }
}

await main();
