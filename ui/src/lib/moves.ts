/** A change of a tree of values, as what it was and what it became. */
export interface Move<T> {
  before: T;
  after: T;
}

type Fields = Record<string, unknown>;

function isTree(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isSame(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((value, index) => isSame(value, b[index]));
  }
  if (!isTree(a) || !isTree(b)) return a === b;
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].every((key) => isSame(a[key], b[key]));
}

/** `now` after the same change: each field that it changed, where it still is as it was. All others are left alone. */
export function moved<T>(now: T, { before, after }: Move<T>): T {
  if (!isTree(now) || !isTree(before) || !isTree(after)) return isSame(now, before) ? after : now;
  const made: Fields = { ...now };
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (isSame(before[key], after[key])) continue;
    const value = moved(made[key], { before: before[key], after: after[key] });
    if (value === undefined) delete made[key];
    else made[key] = value;
  }
  return made as T;
}
