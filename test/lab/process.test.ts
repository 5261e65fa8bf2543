import { afterAll, describe, expect, test } from 'vitest';
import { ProcessError, PuffProcess } from '../../lab/process.ts';

const HOST = ['host', '--listen', '127.0.0.1:0'];
const started: PuffProcess[] = [];

function start(args: readonly string[]): PuffProcess {
  const child = new PuffProcess(args);
  started.push(child);
  return child;
}

afterAll(() => Promise.all(started.map((child) => child.stop())));

describe.concurrent('a process started by another', () => {
  test('line: one to come, and one that came already', async () => {
    const child = start(HOST);
    const [, port] = await child.line(/listening on ws:\/\/127\.0\.0\.1:(\d+)/);
    expect(await child.line(/listening on .*:(\d+)/)).toMatchObject({ 1: port });
    expect(await child.stop()).toBe(0);
  });

  test('one that ends before it is ready: one line with its own words', async () => {
    const child = start([...HOST, '--control', '/proc/puff-test']);
    const error = await child.line(/listening/).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ProcessError);
    expect((error as Error).message).toBe(
      'puff host ended with code 2: cannot listen at /proc/puff-test: not allowed there; ' +
        'choose another',
    );
    expect(await child.exited).toBe(2);
  });

  test('is out of reach of a Ctrl-C in the terminal: it leads a process group', async () => {
    const child = start(HOST);
    await child.line(/listening/);
    expect(process.kill(-(child.child.pid ?? 0), 0)).toBe(true);
  });

  test('ends in order when the other side of its lifeline is gone', async () => {
    const child = start(HOST);
    await child.line(/listening/);
    child.child.disconnect();
    expect(await child.exited).toBe(0);
  });

  test('ends also when that happens before it is ready', async () => {
    const child = start(['guest', '--connect', 'ws://127.0.0.1:1']);
    child.child.disconnect();
    expect(await child.exited).toBe(0);
  });

  test('stop kills one that does not end', async () => {
    const child = start(HOST);
    await child.line(/listening/);
    child.child.kill('SIGSTOP');
    expect(await child.stop(50)).toBe(128 + 9);
    expect(await child.stop()).toBe(128 + 9);
  });
});
