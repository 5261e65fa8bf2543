import { createServer } from 'node:net';

/** Systems hand out ports above these to whoever asks for any, also to clients that dial. */
const FIRST = 20_000;
const COUNT = 10_000;

/**
 * A port that nobody listens on and that the system gives to nobody by itself: a test may let go of
 * it and listen on it again, or dial it in vain. (A client that dials a free port of the system's
 * own choice may be given that port as its own, and then reaches itself.)
 */
export async function unusedPort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
