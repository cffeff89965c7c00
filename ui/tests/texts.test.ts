import { expect, test } from "vitest";

import english from "../../crates/protocol/locales/en.ftl?raw";
import simplifiedChinese from "../../crates/protocol/locales/zh-CN.ftl?raw";
import { BOUNDS } from "../src/bindings/defaults";
import type { Language } from "../src/bindings/Language";
import type { SettingsFault } from "../src/bindings/SettingsFault";
import { fieldName } from "../src/lib/fields";
import { refusalSentence } from "../src/lib/refusals";
import { textsOf } from "../src/lib/texts";

const pages = import.meta.glob("../src/**/*.{ts,svelte}", { query: "?raw", import: "default", eager: true });
const programs = import.meta.glob(
  ["../../crates/{protocol,agent,cli,core}/src/**/*.rs", "../../src-tauri/src/**/*.rs"],
  { query: "?raw", import: "default", eager: true },
);

function keysOf(source: string): string[] {
  return [...source.matchAll(/^([a-z][a-zA-Z0-9-]*) =/gm)].map((match) => match[1] ?? "");
}

const KEYS = keysOf(english);

interface Named {
  whole: Set<string>;
  /** Those of settings, which must all be there. */
  settings: string[];
  /** Keys that are put together, as what they begin and end with. */
  parts: [string, string][];
}

/** What the window's source names. */
function named(): Named {
  const whole = new Set<string>();
  const settings: string[] = [];
  const parts: [string, string][] = [];
  for (const source of Object.values(pages) as string[]) {
    for (const match of source.matchAll(/"([a-z]+(?:-[a-zA-Z0-9]+)+)"/g)) if (match[1]) whole.add(match[1]);
    for (const match of source.matchAll(/`([a-z][a-z-]*-)\$\{[^`}]*\}([a-z-]*)`/g)) parts.push([match[1] ?? "", match[2] ?? ""]);
    // A setting's name stands for its label, its sentence and its choices.
    for (const match of source.matchAll(/<Setting(\w+)[^<]*?name="([a-z-]+)"([^<]*?)\/>/gs)) {
      const [, kind, name] = match;
      settings.push(`set-${name}`, `set-${name}-hint`);
      if (kind !== "Choice") continue;
      for (const option of (match[3] ?? "").match(/options=\{\[(.*?)\]/s)?.[1]?.matchAll(/"([a-z_]+)"/g) ?? []) {
        settings.push(`set-${name}-${option[1]?.replaceAll("_", "-")}`);
      }
    }
    for (const match of source.matchAll(/name="([a-z]+)-\{\w+\}"/g)) parts.push([`set-${match[1]}-`, ""]);
  }
  for (const key of settings) whole.add(key);
  return { whole, settings, parts };
}

test("both languages have the same keys, each once", () => {
  expect(KEYS.length).toBeGreaterThan(400);
  expect(keysOf(simplifiedChinese).toSorted()).toEqual(KEYS.toSorted());
  expect(new Set(KEYS).size).toBe(KEYS.length);
});

test("every message that the window names is there in both languages", () => {
  const beginnings = new Set(KEYS.map((key) => key.split("-")[0]));
  const said: string[] = [];
  for (const source of Object.values(pages) as string[]) {
    for (const call of source.matchAll(/\.say\(\s*([^;]*?)\)/gs)) {
      for (const key of (call[1] ?? "").matchAll(/"([a-z]+(?:-[a-zA-Z0-9]+)+)"/g)) if (key[1]) said.push(key[1]);
    }
  }
  const wanted = [...said, ...named().settings].filter((key) => beginnings.has(key.split("-")[0]));
  expect(wanted.length).toBeGreaterThan(200);
  for (const language of ["en", "zh-CN"] as const) {
    expect(wanted.filter((key) => !textsOf(language).has(key)), language).toEqual([]);
  }
});

test("every put-together key has at least one message", () => {
  for (const [begins, ends] of named().parts.filter(([begins]) => begins !== "set-")) {
    const found = KEYS.filter((key) => key.startsWith(begins) && key.endsWith(ends));
    expect(found.length, `${begins}…${ends}`).toBeGreaterThan(0);
  }
});

test("no message is unused", () => {
  const { whole, parts } = named();
  const rust = (Object.values(programs) as string[]).join("\n");
  const inRust = new Set([...rust.matchAll(/"([a-z]+(?:-[a-zA-Z0-9]+)+)"/g)].map((match) => match[1]));
  const rustParts = [...rust.matchAll(/"([a-z]+-)\{\w*\}([a-z-]*)"/g)].map((match) => [match[1], match[2]] as const);
  const unused = KEYS.filter(
    (key) =>
      !whole.has(key) &&
      !inRust.has(key) &&
      !parts.some(([begins, ends]) => begins !== "set-" && key.startsWith(begins) && key.endsWith(ends)) &&
      !rustParts.some(([begins = "", ends = ""]) => key.startsWith(begins) && key.endsWith(ends)),
  );
  expect(unused).toEqual([]);
});

test("every message can be said in both languages", () => {
  for (const language of ["en", "zh-CN"] as const) {
    const texts = textsOf(language);
    const values = Object.fromEntries([...english.matchAll(/\$([a-z]+)/g)].map((match) => [match[1] ?? "", 2]));
    const empty = KEYS.filter((key) => texts.say(key, values).trim() === "" || texts.say(key, values).includes("{"));
    expect(empty, language).toEqual([]);
  }
});

test("every setting that the window shows has its name where it is refused", () => {
  for (const language of ["en", "zh-CN"] as const) {
    const texts = textsOf(language);
    // The first run's own count is on no page.
    const nameless = Object.keys(BOUNDS).filter((field) => field !== "introduced" && fieldName(field, texts) === field);
    expect(nameless, language).toEqual([]);
  }
  // The name is the one that stands beside the field.
  for (const source of Object.values(pages) as string[]) {
    for (const [, words] of source.matchAll(/<SettingNumber([^<]*?)\/>/gs)) {
      const [name, field] = [/name="([a-z-]+)"/, /field="([^"{]+)"/].map((which) => words?.match(which)?.[1]);
      if (name && field) expect(fieldName(field, textsOf("en")), field).toBe(textsOf("en").say(`set-${name}`));
    }
  }
});

test("settings that are not taken are told in the reader's language, with the window's own names", () => {
  const said = (fault: SettingsFault, language: Language) =>
    refusalSentence({ kind: "command", data: { kind: "settings", detail: "root_inside is on and egress", fault } }, textsOf(language));
  const root = said({ fault: "root_past_the_proxy" }, "zh-CN");
  expect(root).toContain("“允许租用者在容器内为 root”");
  expect(root).toContain("“白名单”");
  expect(root).not.toMatch(/root_inside|egress|curated/);
  expect(said({ fault: "root_past_the_proxy" }, "en")).toContain('"Renters may be root inside" (page Work)');
  expect(said({ fault: "names", field: "games" }, "zh-CN")).toContain("“算作游戏的程序”");
  expect(said({ fault: "too_many", field: "schedule.exceptions", most: 366 }, "en")).toContain("366 are the most");
  const faults: SettingsFault[] = [
    { fault: "bounds", field: "warning_ms" },
    { fault: "newer", found: 2 },
    { fault: "text", field: "region" },
    { fault: "window", field: "tariff.windows" },
    { fault: "date_twice", date: "2026-12-24" },
    { fault: "night_hours" },
    { fault: "currency", tariff: "EUR", price: "CNY" },
    { fault: "no_tariff" },
  ];
  for (const language of ["en", "zh-CN"] as const) {
    for (const fault of faults) expect(said(fault, language), fault.fault).not.toMatch(/fault-|\{|undefined/);
  }
});

test("a refusal is a sentence in the reader's language", () => {
  const refusal = { kind: "command", data: { kind: "duration", most_ms: 86_400_000 } } as const;
  expect(refusalSentence(refusal, textsOf("en"))).toBe("This was not done: this can last 24 hours at most.");
  expect(refusalSentence(refusal, textsOf("zh-CN"))).toBe("没有执行：最长 24 小时。");
});
