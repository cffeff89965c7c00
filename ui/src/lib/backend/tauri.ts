import { invoke } from "@tauri-apps/api/core";
import { listen } from "@tauri-apps/api/event";

import type { EnrolRefusal } from "../../bindings/EnrolRefusal";
import type { Question } from "../../bindings/Question";
import type { QuestionRefusal } from "../../bindings/QuestionRefusal";
import type { Refusal } from "../../bindings/Refusal";
import type { Reply } from "../../bindings/Reply";
import type { StartFailure } from "../../bindings/StartFailure";
import type { UserCommand } from "../../bindings/UserCommand";
import type { ViewModel } from "../../bindings/ViewModel";
import { type Backend, EnrolRefused, NotStarted, Refused, Unanswered } from "./backend";

/** What a command of the app rejects with is its serialised error; anything else is a fault of the bridge itself. */
function rejected<T>(error: unknown, wrap: (value: T) => Error): Error {
  const told = typeof error === "object" && error !== null && "kind" in error;
  return told ? wrap(error as T) : new Error(String(error));
}

declare global {
  interface Window {
    /** What the window's program gives to the page with its scripts. */
    nightjarFirstView?: ViewModel | null;
  }
}

/** The app around this window. */
export class TauriBackend implements Backend {
  first(): ViewModel | null {
    return window.nightjarFirstView ?? null;
  }

  async view(): Promise<ViewModel> {
    try {
      return await invoke<ViewModel>("view");
    } catch (error) {
      throw rejected<StartFailure>(error, (failure) => new NotStarted(failure));
    }
  }

  async command(command: UserCommand): Promise<void> {
    try {
      await invoke("command", { command });
    } catch (error) {
      throw rejected<Refusal>(error, (refusal) => new Refused(refusal));
    }
  }

  async enrol(coordinatorUrl: string, pairingCode: string): Promise<void> {
    try {
      await invoke("enrol", { coordinatorUrl, pairingCode });
    } catch (error) {
      throw rejected<EnrolRefusal>(error, (refusal) => new EnrolRefused(refusal));
    }
  }

  async ask(question: Question): Promise<Reply> {
    try {
      return await invoke<Reply>("ask", { question });
    } catch (error) {
      throw rejected<QuestionRefusal>(error, (refusal) => new Unanswered(refusal.detail));
    }
  }

  onShown(look: () => void): Promise<() => void> {
    return listen("shown", look);
  }

  onView(draw: (view: ViewModel) => void): Promise<() => void> {
    return listen<ViewModel>("view", (event) => draw(event.payload));
  }
}
