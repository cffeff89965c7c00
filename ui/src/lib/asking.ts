import type { Settings } from "../bindings/Settings";
import type { Texts } from "./texts";

/** A question that comes before a change of the settings, in words. */
export interface Asked {
  text: string;
  yes: string;
}

/** What is asked before the settings become so, however that comes about; `null` where nothing is. */
export function askedBefore(was: Settings, wanted: Settings, texts: Texts): Asked | null {
  const asked: Asked[] = [];
  const ask = (text: string, yes: string) => asked.push({ text, yes });
  if (wanted.root_inside && !was.root_inside) ask(texts.say("set-root-inside-sure"), texts.say("ui-turn-on"));
  if (!wanted.gvisor && was.gvisor) ask(texts.say("set-gvisor-sure"), texts.say("ui-turn-off"));
  if (wanted.without_presence && !was.without_presence) {
    ask(texts.say("set-without-presence-sure"), texts.say("ui-turn-on"));
  }
  if (wanted.egress === "open" && was.egress !== "open") ask(texts.say("set-egress-sure"), texts.say("ui-allow"));
  for (const name of wanted.accepted_versions) {
    if (!was.accepted_versions.includes(name)) ask(texts.say("help-accept-sure", { name }), texts.say("help-accept"));
  }
  const [first] = asked;
  return first ? { text: asked.map(({ text }) => text).join("\n"), yes: first.yes } : null;
}
