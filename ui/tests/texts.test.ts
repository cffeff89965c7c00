import { expect, test } from "vitest";

import { textsOf } from "../src/lib/texts";
import { refusalSentence } from "../src/lib/refusals";

const sources = import.meta.glob("../src/**/*.{ts,svelte}", { query: "?raw", import: "default", eager: true });

/** Keys that the source names, also those that end in a value, by their beginning. */
function keys(): string[] {
  const found = new Set<string>();
  for (const source of Object.values(sources) as string[]) {
    for (const call of source.matchAll(/\.say\(([^;]*?)\)/gs)) {
      for (const key of (call[1] ?? "").matchAll(/"([a-z]+(?:-[a-z]+)+)"/g)) if (key[1]) found.add(key[1]);
    }
  }
  return [...found];
}

test("every message that the window names is there in both languages", () => {
  expect(keys().length).toBeGreaterThan(25);
  const states = ["earning", "waiting", "yours", "trouble"].map((state) => `ui-state-${state}`);
  for (const language of ["en", "zh-CN"] as const) {
    const missing = [...keys(), ...states].filter((key) => !textsOf(language).has(key));
    expect(missing, language).toEqual([]);
  }
});

test("a refusal is a sentence in the reader's language", () => {
  const refusal = { kind: "command", data: { kind: "duration", most_ms: 86_400_000 } } as const;
  expect(refusalSentence(refusal, textsOf("en"))).toBe("This was not done: this can last 24 hours at most.");
  expect(refusalSentence(refusal, textsOf("zh-CN"))).toBe("没有执行：最长 24 小时。");
});
