// A colour for a name, always the same: one of twelve in the style sheet.
export const HUES = 12;

export function hue(name: string): number {
  let hash = 2166136261;
  for (let at = 0; at < name.length; at++) hash = Math.imul(hash ^ name.charCodeAt(at), 16777619);
  return (hash >>> 0) % HUES;
}
