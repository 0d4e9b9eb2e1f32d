// What functions are given and answer, for people.

/** JSON with its lines, anything else as it is. Numbers that a browser cannot hold are left as they are written. */
export function pretty(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    const exact = !/\d{16,}|\d[eE]/.test(text);
    return exact ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}
