import type { BalloonProperties } from '../host/vmm/machine.ts';

/** A device option that QEMU would refuse as well; one line. */
export class DeviceOptionError extends Error {
  override readonly name = 'DeviceOptionError';
}

/** A `--device` value: the device's id in QOM and the properties that were given. */
export interface DeviceOption {
  readonly qomId: string | undefined;
  readonly properties: Partial<BalloonProperties>;
}

const PROPERTIES: readonly (keyof BalloonProperties)[] = [
  'deflate-on-oom',
  'free-page-hint',
  'free-page-reporting',
  'page-poison',
  'qemu-4-0-config-size',
];
const SWITCH: Readonly<Record<string, boolean>> = {
  on: true,
  off: false,
  yes: true,
  no: false,
  true: true,
  false: false,
};

/** `virtio-balloon-pci,id=balloon0,deflate-on-oom=on`, as QEMU spells it after -device. */
export function parseDevice(text: string): DeviceOption {
  const [driver, ...options] = text.split(',');
  if (driver !== 'virtio-balloon-pci' && driver !== 'virtio-balloon') {
    throw new DeviceOptionError(`'${driver}' is not virtio-balloon-pci`);
  }
  let qomId: string | undefined;
  const properties: Partial<Record<keyof BalloonProperties, boolean>> = {};
  for (const option of options) {
    const [name = '', value = 'on'] = option.split('=');
    const property = PROPERTIES.find((known) => known === name);
    if (name === 'id') qomId = value;
    else if (property !== undefined && value in SWITCH) properties[property] = SWITCH[value];
    else throw new DeviceOptionError(refusal(name, value));
  }
  return { qomId, properties };
}

function refusal(name: string, value: string): string {
  if ((PROPERTIES as readonly string[]).includes(name)) {
    return `Parameter '${name}' expects 'on' or 'off', not '${value}'`;
  }
  return `Property 'virtio-balloon-pci.${name}' not found; there are id, ${PROPERTIES.join(', ')}`;
}
