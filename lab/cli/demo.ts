import { Command } from 'commander';

const ABOUT = `
Exit code: 0 everything was equal, 1 something was not, 2 the processes did not start, 130 after
Ctrl-C. Processes and their folder are gone in every case.`;

/** `puff demo`, which is `npm start`: the product doing its main job on real input. */
export function demoCommand(): Command {
  return new Command('demo')
    .description('a recorded Linux guest beside Puff, then a cut connection (npm start)')
    .addHelpText('after', ABOUT)
    .action(async () => (await import('./show-demo.ts')).showDemo());
}
