import { readFileSync } from 'node:fs';

/**
 * Certificates for tests: an authority, `local` for this machine and `elsewhere` for
 * elsewhere.example, both signed by it, valid from 2020 to 2120.
 */
export const TLS = {
  ca: pem('ca'),
  local: { cert: pem('local'), key: pem('local-key') },
  elsewhere: { cert: pem('elsewhere'), key: pem('elsewhere-key') },
};

function pem(name: string): string {
  return readFileSync(new URL(`../../vectors/tls/${name}.pem`, import.meta.url), 'utf8');
}
