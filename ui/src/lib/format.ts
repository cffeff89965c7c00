import type { Language } from "../bindings/Language";
import type { Money } from "../bindings/Money";
import type { Timestamp } from "../bindings/Timestamp";
import type { Texts } from "./texts";

const GIB = 2 ** 30;
const DAY_MS = 24 * 60 * 60 * 1000;

/** Cents as everywhere; below one unit also hundredths of a cent, which is what a few seconds earn. */
export function money(amount: Money, language: Language): string {
  const value = amount.micros / 1_000_000;
  return new Intl.NumberFormat(language, {
    style: "currency",
    currency: amount.currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: value !== 0 && Math.abs(value) < 1 ? 4 : 2,
  }).format(value);
}

/** A price of something small: what makes the difference lies behind the cents. */
export function unitPrice(amount: Money, language: Language): string {
  return new Intl.NumberFormat(language, {
    style: "currency",
    currency: amount.currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: 6,
  }).format(amount.micros / 1_000_000);
}

/** How a moment is told: in which language, and by the clock of which wall. Without a zone it is this browser's. */
export interface Wall {
  readonly language: Language;
  readonly zone: string | undefined;
}

const NUMBERS = { year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric" } as const;

/** What the wall's calendar and clock show, from the year to the second. */
function wallParts(at: Timestamp, zone: string | undefined): [number, number, number, number, number, number] {
  const format = new Intl.DateTimeFormat("en", { timeZone: zone, hourCycle: "h23", ...NUMBERS });
  const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  const part = (type: keyof typeof NUMBERS) => parts.get(type) ?? 0;
  return [part("year"), part("month") - 1, part("day"), part("hour"), part("minute"), part("second")];
}

/** The date on the wall, as that day's midnight in UTC. */
export function wallDate(at: Timestamp, zone: string | undefined): Date {
  const [year, month, day] = wallParts(at, zone);
  return new Date(Date.UTC(year, month, day));
}

/** The wall's date and hour as those of a date here: JavaScript's dates know no zone but the browser's own. */
export function onWall(at: Timestamp, zone: string | undefined): Date {
  return zone === undefined ? new Date(at) : new Date(...wallParts(at, zone));
}

/** The clock on the wall, with the day of the week or the date where the hour alone would mean another moment. */
export function clock(at: Timestamp, now: Timestamp, { language, zone }: Wall): string {
  const apart = Math.abs(at - now);
  const isNear = apart < DAY_MS / 2 || wallDate(at, zone).getTime() === wallDate(now, zone).getTime();
  const date = apart < 6 * DAY_MS ? { weekday: "short" } : { month: "short", day: "numeric" };
  return new Intl.DateTimeFormat(language, {
    timeZone: zone,
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
    ...(isNear ? {} : (date as Intl.DateTimeFormatOptions)),
  }).format(at);
}

export function celsius(degrees: number, language: Language): string {
  const number = new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(degrees);
  return `${number} °C`;
}

/** `of_hundred` as a percentage. */
export function percent(of_hundred: number, language: Language): string {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(of_hundred / 100);
}

export function gib(bytes: number, language: Language): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 1, minimumFractionDigits: 1 }).format(bytes / GIB);
}

export function watts(value: number, language: Language): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(value);
}

/** Enough of a key to tell it from another by eye. */
export function shortKey(key: string): string {
  return key.length > 16 ? `${key.slice(0, 8)}…${key.slice(-8)}` : key;
}

/** "5 h 12 min", "20 min", "40 s". */
export function duration(ms: number, texts: Texts): string {
  const [hours, minutes, seconds] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1_000) % 60];
  if (hours === 0 && minutes === 0) return texts.say("night-seconds", { a: seconds });
  if (hours === 0) return texts.say("night-minutes", { a: minutes });
  if (minutes === 0) return texts.say("night-hours", { a: hours });
  return texts.say("night-hours-minutes", { a: hours, b: minutes });
}

/** A day of the calendar, "Mon, 1 Jun". */
export function day(at: Timestamp, { language, zone }: Wall): string {
  return new Intl.DateTimeFormat(language, { timeZone: zone, weekday: "short", day: "numeric", month: "short" }).format(at);
}

export function dayAndClock(at: Timestamp, { language, zone }: Wall): string {
  return new Intl.DateTimeFormat(language, {
    timeZone: zone,
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
    hourCycle: "h23",
  }).format(at);
}

export function number(value: number, language: Language, digits = 0): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** So many places a number of settings may have: a price's millionths are six. */
const MOST_PLACES = 9;

/** A setting in units of `scale` of its own: the shortest number that means the same setting again. */
export function inUnits(own: number, scale: number): number {
  for (let places = 0; places <= MOST_PLACES; places += 1) {
    const shown = Number((own / scale).toFixed(places));
    if (Math.round(shown * scale) === own) return shown;
  }
  return own / scale;
}

/** "20 Mbit/s", "512 kbit/s", "1.5 Gbit/s". */
export function rate(kbit: number, language: Language): string {
  if (kbit >= 1_000_000) return `${number(kbit / 1_000_000, language, 1)} Gbit/s`;
  if (kbit >= 1_000) return `${number(kbit / 1_000, language, 1)} Mbit/s`;
  return `${number(kbit, language)} kbit/s`;
}

/** Monday to Sunday, short. */
export function dayNames(language: Language): string[] {
  const format = new Intl.DateTimeFormat(language, { weekday: "short", timeZone: "UTC" });
  return Array.from({ length: 7 }, (_, index) => format.format(Date.UTC(2024, 0, 1 + index)));
}
