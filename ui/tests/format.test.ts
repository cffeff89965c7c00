import { expect, test } from "vitest";

import amounts from "../../crates/protocol/tests/amounts.json?raw";
import type { Language } from "../src/bindings/Language";
import { clock, day, dayAndClock, gib, inUnits, money, onWall, percent, shortKey, unitPrice, wallDate } from "../src/lib/format";
import { textsOf } from "../src/lib/texts";

const AT = new Date(2026, 5, 1, 9, 5).getTime();
const HERE = { language: "en", zone: undefined } as const;

test("money is told in the reader's way and never rounded away", () => {
  expect(money({ micros: 0, currency: "CNY" }, "en")).toBe("CN¥0.00");
  expect(money({ micros: 37_500, currency: "CNY" }, "zh-CN")).toBe("¥0.0375");
  expect(money({ micros: -1_234_567_890_000, currency: "EUR" }, "en")).toBe("-€1,234,567.89");
});

test("amounts are written as the host writes them in its sentences", () => {
  const cases = JSON.parse(amounts) as ({ micros: number; currency: string } & Record<Language, string>)[];
  expect(cases.length).toBeGreaterThan(10);
  for (const { micros, currency, ...said } of cases) {
    for (const language of ["en", "zh-CN"] as const) {
      expect(money({ micros, currency }, language), `${micros} ${currency}`).toBe(said[language]);
    }
  }
});

test("a price of something small keeps what lies behind the cents", () => {
  expect(unitPrice({ micros: 1_234_567, currency: "EUR" }, "en")).toBe("€1.234567");
  expect(unitPrice({ micros: 300_000, currency: "CNY" }, "zh-CN")).toBe("¥0.30");
});

test("a setting is shown with as many places as it takes to mean the same, and no more", () => {
  expect(inUnits(301_255, 1_000_000)).toBe(0.301255);
  expect(inUnits(1_500_000, 1_000_000)).toBe(1.5);
  expect(inUnits(1, 1_000_000)).toBe(0.000001);
  expect(inUnits(83, 1)).toBe(83);
  expect(inUnits(65.5, 1)).toBe(65.5);
  // 500 GB in MiB, to the nearest.
  expect(inUnits(476_837, 1e9 / 2 ** 20)).toBe(500);
  for (const scale of [1_000, 1_024, 1_000_000, 86_400_000]) {
    for (const own of [0, 1, 999, 50_001, 3_600_000, 123_456_789]) {
      expect(Math.round(inUnits(own, scale) * scale), `${own} in ${scale}`).toBe(own);
    }
  }
});

test("a far moment has its weekday", () => {
  expect(clock(AT, AT, HERE)).toBe("09:05");
  expect(clock(AT + 2 * 86_400_000, AT, HERE)).toMatch(/Wed.* 09:05/);
  expect(clock(AT + 7 * 86_400_000, AT, HERE)).toMatch(/[A-Z][a-z]{2} \d+.* 09:05/);
});

test("a moment is told by the host's clock, wherever the browser is", () => {
  // 22:30 on Monday in London's winter, half past six on Tuesday morning in Shanghai.
  const at = Date.UTC(2026, 0, 5, 22, 30);
  for (const [zone, hour, date] of [
    ["UTC", "22:30", "Mon, Jan 5"],
    ["Asia/Shanghai", "06:30", "Tue, Jan 6"],
    ["America/New_York", "17:30", "Mon, Jan 5"],
  ] as const) {
    const wall = textsOf("en", zone);
    expect(clock(at, at, wall), zone).toBe(hour);
    expect(day(at, wall), zone).toBe(date);
    expect(dayAndClock(at, wall), zone).toContain(hour);
    const here = onWall(at + 999, zone);
    expect([here.getHours(), here.getMinutes(), here.getDate()], zone).toEqual([...hour.split(":").map(Number), Number(date.slice(-1))]);
    expect(wallDate(at, zone).toISOString().slice(8, 10), zone).toBe(date.slice(-1).padStart(2, "0"));
  }
  expect(onWall(at + 999, undefined).getTime()).toBe(at + 999);
  // Of one day in Shanghai, of two in UTC.
  const later = at + 14 * 3_600_000;
  expect(clock(later, at, textsOf("en", "Asia/Shanghai"))).toBe("20:30");
  expect(clock(later, at, textsOf("en", "UTC"))).toMatch(/Tue.* 12:30/);
});

test("a zone that the browser does not know is no reason to show nothing", () => {
  expect(textsOf("en", "Mars/Olympus").zone).toBeUndefined();
  expect(clock(AT, AT, textsOf("en", "Mars/Olympus"))).toBe("09:05");
  expect(textsOf("en", null)).toBe(textsOf("en"));
});

test("sizes, shares and keys", () => {
  expect(gib(25_757_220_864, "en")).toBe("24.0");
  expect(percent(7, "en")).toBe("7%");
  expect(shortKey("0123456789abcdef0123456789abcdef")).toBe("01234567…89abcdef");
});
