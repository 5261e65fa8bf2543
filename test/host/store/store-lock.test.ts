import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { StoreError } from '../../../host/store/guest-store.ts';
import { lockStore } from '../../../host/store/store-lock.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'puff-lock-'));
  path = join(directory, 'guests');
});
afterEach(() => rmSync(directory, { recursive: true }));

it('a store has one host at a time', async () => {
  const unlock = await lockStore(path);
  await expect(lockStore(path)).rejects.toThrow(`the store ${path} is in use by another host`);
  await unlock();
  expect(existsSync(`${path}.lock`)).toBe(false);
  await (await lockStore(path))();
});

it('a lock that a killed host left is taken over', async () => {
  const killed: Server = createServer();
  await new Promise<void>((resolve) => killed.listen(`${path}.lock.dying`, resolve));
  // A socket file nobody listens on: renamed, it is not removed when the server closes.
  renameSync(`${path}.lock.dying`, `${path}.lock`);
  await new Promise((resolve) => killed.close(resolve));
  expect(existsSync(`${path}.lock`)).toBe(true);
  await (await lockStore(path))();
});

it('says in one line why there is no lock', async () => {
  const nowhere = join(directory, 'none', 'guests');
  await expect(lockStore(nowhere)).rejects.toThrow(StoreError);
  await expect(lockStore(nowhere)).rejects.toThrow(/^cannot lock the store .*create it first$/);
});
