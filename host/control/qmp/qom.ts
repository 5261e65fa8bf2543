import { deviceNotFound, QmpCommandError } from './errors.ts';
import type { Json, JsonValue } from './json-value.ts';

/**
 * QEMU's object model as far as QMP shows it: a tree of typed objects with properties, reached by
 * paths. What objects there are is in qom-tree.ts.
 */
export interface QomProperty {
  readonly name: string;
  /** As qom-list prints it: `bool`, `int`, `child<container>`. */
  readonly type: string;
  readonly get: () => Json;
  /** Without it the property is not writable. Throws QmpCommandError. */
  readonly set?: (value: JsonValue) => void;
  /** The object behind a `child<...>` property. */
  readonly child?: QomObject;
}

export interface QomObject {
  readonly typename: string;
  /** The bus a device sits on; what is no device has none. */
  readonly bus?: string;
  /** In the order of qom-list. */
  readonly properties: readonly QomProperty[];
}

export const Ambiguous = Symbol('more than one object matches');

/** object_resolve_path_at: from the root when the path starts with a slash, else from `base`. */
export function resolveAt(root: QomObject, base: QomObject, path: string): QomObject | undefined {
  const parts = splitPath(path);
  return path.startsWith('/') ? walk(root, parts) : walk(base, parts);
}

/**
 * object_resolve_path: an absolute path from the root; any other is tried below every object of
 * the tree and must fit at exactly one place, so `balloon0` is enough.
 */
export function resolve(root: QomObject, path: string): QomObject | typeof Ambiguous | undefined {
  const parts = splitPath(path);
  if (path.startsWith('/')) return walk(root, parts);
  const found: QomObject[] = [];
  const pending = [root];
  for (let base = pending.pop(); base !== undefined; base = pending.pop()) {
    const object = walk(base, parts);
    if (object !== undefined) found.push(object);
    for (const { child } of base.properties) if (child !== undefined) pending.push(child);
  }
  return found.length > 1 ? Ambiguous : found[0];
}

/** Empty parts are skipped, as in `/machine//peripheral/`. */
function splitPath(path: string): string[] {
  return path.split('/').filter((part) => part !== '');
}

function walk(base: QomObject, parts: readonly string[]): QomObject | undefined {
  let object: QomObject | undefined = base;
  for (const part of parts) {
    object = object?.properties.find(({ name }) => name === part)?.child;
    if (object === undefined) return undefined;
  }
  return object;
}

/** The object of qom-get and qom-set; an ambiguous path is as good as none. */
export function mustResolve(root: QomObject, path: string): QomObject {
  const object = resolve(root, path);
  if (object === undefined || object === Ambiguous) throw deviceNotFound(path);
  return object;
}

export function getProperty(object: QomObject, name: string): Json {
  return findProperty(object, name).get();
}

export function setProperty(object: QomObject, name: string, value: JsonValue): void {
  const { set } = findProperty(object, name);
  if (set === undefined) {
    throw new QmpCommandError(`Property '${object.typename}.${name}' is not writable`);
  }
  set(value);
}

/** A property that stands for one of another object; errors name that object's type. */
export function alias(target: QomObject, { name, type }: QomProperty): QomProperty {
  return {
    name,
    type,
    get: () => getProperty(target, name),
    set: (value) => setProperty(target, name, value),
  };
}

function findProperty(object: QomObject, name: string): QomProperty {
  const property = object.properties.find((candidate) => candidate.name === name);
  if (property === undefined) {
    throw new QmpCommandError(`Property '${object.typename}.${name}' not found`);
  }
  return property;
}
