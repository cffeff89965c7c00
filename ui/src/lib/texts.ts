import { FluentBundle, FluentResource, type FluentVariable } from "@fluent/bundle";

import type { Language } from "../bindings/Language";
import english from "../../../crates/protocol/locales/en.ftl?raw";
import simplifiedChinese from "../../../crates/protocol/locales/zh-CN.ftl?raw";

const SOURCES: Record<Language, string> = { en: english, "zh-CN": simplifiedChinese };

/** The messages of one language, from the same files as the tray's and the notifications', and whose hours go with them. */
export class Texts {
  readonly #bundle: FluentBundle;

  constructor(
    readonly language: Language,
    readonly zone: string | undefined,
  ) {
    this.#bundle = bundleOf(language);
  }

  /** A key that is not there shows as itself; a test rules that out for every key that the source names. */
  say(key: string, values?: Record<string, FluentVariable>): string {
    const pattern = this.#bundle.getMessage(key)?.value;
    return pattern ? this.#bundle.formatPattern(pattern, values, []) : key;
  }

  has(key: string): boolean {
    return this.#bundle.hasMessage(key);
  }
}

const bundles = new Map<Language, FluentBundle>();

/** Parsed once a language. */
function bundleOf(language: Language): FluentBundle {
  let bundle = bundles.get(language);
  if (!bundle) {
    // The marks around each value are for mixed writing directions, which neither language has.
    bundle = new FluentBundle(language, { useIsolating: false });
    bundle.addResource(new FluentResource(SOURCES[language]));
    bundles.set(language, bundle);
  }
  return bundle;
}

const made = new Map<string, Texts>();

/** With the hours of this time zone; of the browser's own where there is none, or none that the browser knows. */
export function textsOf(language: Language, zone: string | null = null): Texts {
  const key = `${language} ${zone ?? ""}`;
  let texts = made.get(key);
  if (!texts) {
    texts = new Texts(language, knownZone(zone));
    made.set(key, texts);
  }
  return texts;
}

function knownZone(zone: string | null): string | undefined {
  if (zone === null) return undefined;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: zone }).resolvedOptions().timeZone;
  } catch {
    return undefined;
  }
}

/** What the system speaks, for the moments before the view model says which language the owner wants. */
export function systemLanguage(): Language {
  return navigator.language.startsWith("zh") ? "zh-CN" : "en";
}
