import { FluentBundle, FluentResource, type FluentVariable } from "@fluent/bundle";

import type { Language } from "../bindings/Language";
import english from "../../../crates/protocol/locales/en.ftl?raw";
import simplifiedChinese from "../../../crates/protocol/locales/zh-CN.ftl?raw";

const SOURCES: Record<Language, string> = { en: english, "zh-CN": simplifiedChinese };

/** The messages of one language, from the same files as the tray's and the notifications'. */
export class Texts {
  readonly #bundle: FluentBundle;

  constructor(readonly language: Language) {
    // The marks around each value are for mixed writing directions, which neither language has.
    this.#bundle = new FluentBundle(language, { useIsolating: false });
    this.#bundle.addResource(new FluentResource(SOURCES[language]));
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

const made = new Map<Language, Texts>();

/** Parsed once a language. */
export function textsOf(language: Language): Texts {
  let texts = made.get(language);
  if (!texts) {
    texts = new Texts(language);
    made.set(language, texts);
  }
  return texts;
}

/** What the system speaks, for the moments before the view model says which language the owner wants. */
export function systemLanguage(): Language {
  return navigator.language.startsWith("zh") ? "zh-CN" : "en";
}
