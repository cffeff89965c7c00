import { expect, test } from "vitest";

import css from "../src/app.css?raw";

/** The custom properties of one theme; each is written light first. */
function theme(place: 2 | 3): Record<string, string> {
  const colours = css.matchAll(/--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);/g);
  return Object.fromEntries([...colours].map((match) => [match[1], match[place]]));
}

function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one: string, other: string): number {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (high + 0.05) / (low + 0.05);
}

test.each([
  ["dark", theme(3)],
  ["light", theme(2)],
])("the %s theme can be read (WCAG AA)", (_, colours) => {
  const of = (name: string) => colours[name] ?? expect.fail(`--${name} is not there`);
  const surfaces = ["ground", "surface", "surface-raised"];
  const texts = ["text", "text-quiet", "earning", "waiting", "yours", "trouble", "danger"];
  for (const surface of surfaces) {
    for (const text of texts) {
      expect(contrast(of(text), of(surface)), `${text} on ${surface}`).toBeGreaterThanOrEqual(4.5);
    }
    expect(contrast(of("control-line"), of(surface)), `control on ${surface}`).toBeGreaterThanOrEqual(3);
  }
  for (const accent of ["earning", "waiting"]) {
    expect(contrast(of("on-accent"), of(accent)), `on ${accent}`).toBeGreaterThanOrEqual(4.5);
  }
});
