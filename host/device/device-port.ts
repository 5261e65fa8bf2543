import type { HostToGuest } from '../../shared/protocol/messages.ts';

/** Where a device's messages go. Binary fields may be reused as soon as `send` returns. */
export interface DevicePort {
  send(message: HostToGuest): void;
}
