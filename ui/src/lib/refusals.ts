import type { EnrolRefusal } from "../bindings/EnrolRefusal";
import type { Refusal } from "../bindings/Refusal";
import type { SettingsFault } from "../bindings/SettingsFault";
import type { NothingThere } from "./backend/backend";
import { fieldName } from "./fields";
import type { Texts } from "./texts";

/** What people read when a command was not taken. */
export function refusalSentence(refusal: Refusal, texts: Texts): string {
  const detail = refusal.kind === "command" ? commandDetail(refusal.data, texts) : refusal.data.detail;
  return texts.say("ui-command-failed", { detail });
}

function commandDetail(error: Extract<Refusal, { kind: "command" }>["data"], texts: Texts): string {
  switch (error.kind) {
    case "settings_unreadable":
      return texts.say("refusal-settings-unreadable");
    case "duration":
      return texts.say("refusal-duration", { hours: Math.floor(error.most_ms / 3_600_000) });
    case "no_such_job":
      return texts.say("refusal-no-such-job");
    case "no_game":
      return texts.say("refusal-no-game");
    case "no_such_card":
      return texts.say("refusal-no-such-card");
    case "no_power_limit":
      return texts.say("refusal-no-power-limit");
    case "no_helper":
      return texts.say("refusal-no-helper");
    case "sweep_runs":
      return texts.say("refusal-sweep-runs");
    case "power_limit":
      return texts.say("refusal-power-limit", { least: error.least, most: error.most });
    case "overtaken":
      return texts.say("refusal-overtaken");
    case "settings":
      return faultSentence(error.fault, texts);
  }
}

/** What is wrong with settings, with the names that the window has for them. */
export function faultSentence(fault: SettingsFault, texts: Texts): string {
  const key = `fault-${fault.fault.replaceAll("_", "-")}`;
  const setting = "field" in fault ? fieldName(fault.field, texts) : "";
  return texts.say(key, { ...fault, setting });
}

/** What people read when a market did not take this PC. */
export function enrolSentence(refusal: EnrolRefusal, texts: Texts): string {
  switch (refusal.kind) {
    case "unreachable":
      return texts.say("pair-unreachable", { url: refusal.url, detail: refusal.detail });
    case "pairing_code":
      return texts.say("pair-code-refused");
    case "refused":
      return texts.say("pair-refused", { detail: refusal.detail });
    case "failed":
      return texts.say("pair-failed", { detail: refusal.detail });
  }
}

/** What people read when there is no host behind the window. */
export function failureSentence(failure: NothingThere, texts: Texts): string {
  switch (failure.kind) {
    case "already_running":
      return texts.say("start-already-running");
    case "link_used":
      return texts.say("start-link-used");
    case "other":
      return texts.say("start-failed", { detail: failure.detail });
  }
}
