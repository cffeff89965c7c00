import { expect, test } from "vitest";

const sources = import.meta.glob("../src/**/*.{ts,svelte}", { query: "?raw", import: "default", eager: true });

/** From the lowest to the highest; see src/README.md. */
const TIERS = ["bindings", "lib", "components", "domain", "views"];

test("no tier imports from one above it", () => {
  const wrong: string[] = [];
  for (const [path, source] of Object.entries(sources) as [string, string][]) {
    const from = TIERS.indexOf(path.split("/")[2] ?? "");
    if (from < 0) continue;
    for (const match of source.matchAll(/from "(\.{1,2}\/[^"]+)"/g)) {
      const target = new URL(match[1] ?? "", `file://${path.replace("..", "")}`).pathname;
      if (TIERS.indexOf(target.split("/")[2] ?? "") > from) wrong.push(`${path} imports ${match[1]}`);
    }
    if (path.split("/")[2] === "components" && /from "\.\.\/bindings/.test(source)) wrong.push(`${path} knows Nightjar`);
  }
  expect(wrong).toEqual([]);
});
