import type { AddressInfo } from 'node:net';
import { WebSocket, WebSocketServer } from 'ws';
import type { Part } from '../child.ts';
import { type Opening, openMany } from '../light-guests.ts';
import { settledMemory } from '../measure.ts';

/** Raw baseline: a server that holds WebSocket connections and does nothing else with them. */
const BEAT_BYTES = 32;

export function rawConnectionsPart(): Part {
  const sockets: WebSocket[] = [];
  let answered = 0;
  let onAllAnswered: (() => void) | undefined;
  return {
    listen: () => {
      const limits = { perMessageDeflate: false, maxPayload: 64 * 1024, backlog: 4096 };
      const server = new WebSocketServer({ host: '127.0.0.1', port: 0, ...limits });
      server.on('connection', (socket) => {
        sockets.push(socket);
        socket.on('message', () => {
          if (++answered === sockets.length) onAllAnswered?.();
        });
      });
      return new Promise((resolve) => {
        server.once('listening', () => {
          resolve(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/`);
        });
      });
    },
    /** Sends a few bytes to every connection and waits for the answers. */
    beat: () =>
      new Promise<void>((resolve) => {
        answered = 0;
        onAllAnswered = resolve;
        const bytes = Buffer.alloc(BEAT_BYTES);
        for (const socket of sockets) socket.send(bytes);
      }),
    memory: () => settledMemory(),
  };
}

export function rawConnectionsClientPart(): Part {
  const sockets: WebSocket[] = [];
  return {
    open: (opening: Opening) =>
      openMany(opening, () => {
        const socket = new WebSocket(opening.url, { perMessageDeflate: false });
        sockets.push(socket);
        socket.on('message', (data: Buffer) => socket.send(data));
        return new Promise((resolve, reject) => {
          socket.once('open', () => resolve());
          socket.once('error', reject);
        });
      }),
  };
}
