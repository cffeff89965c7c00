import type { StartFailure } from "../bindings/StartFailure";
import type { UserCommand } from "../bindings/UserCommand";
import type { ViewModel } from "../bindings/ViewModel";
import { type Backend, EnrolRefused, NotStarted, Refused } from "./backend/backend";
import { enrolSentence, refusalSentence } from "./refusals";
import { systemLanguage, type Texts, textsOf } from "./texts";

/** What the window knows: the newest view model and whatever went wrong last. It decides nothing. */
export class Board {
  view = $state.raw<ViewModel | null>(null);
  failure = $state.raw<StartFailure | null>(null);
  /** A sentence about the last command that was not carried out. */
  complaint = $state<string | null>(null);
  /** A command is on its way. */
  busy = $state(false);
  readonly texts: Texts = $derived(textsOf(this.view?.language ?? systemLanguage()));

  constructor(private readonly backend: Backend) {}

  /** Draws the view now and after each change, until the returned function is called. */
  connect(): () => void {
    let over = false;
    let stop: (() => void) | null = null;
    const draw = (view: ViewModel) => {
      if (over) return;
      this.view = view;
    };
    const connecting = async () => {
      try {
        // The subscription first, so that no change falls between the two.
        stop = await this.backend.onView(draw);
        if (over) return stop();
        const view = await this.backend.view();
        // A change that came meanwhile is newer than this answer.
        if (!this.view || this.view.at < view.at) draw(view);
      } catch (error) {
        if (error instanceof NotStarted) this.failure = error.failure;
        else this.complaint = this.texts.say("ui-connection-lost", { detail: message(error) });
      }
    };
    void connecting();
    return () => {
      over = true;
      stop?.();
    };
  }

  async send(command: UserCommand): Promise<void> {
    await this.#attempt(() => this.backend.command(command));
  }

  async enrol(coordinatorUrl: string, pairingCode: string): Promise<void> {
    await this.#attempt(() => this.backend.enrol(coordinatorUrl, pairingCode));
  }

  dismiss(): void {
    this.complaint = null;
  }

  async #attempt(act: () => Promise<void>): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    this.complaint = null;
    try {
      await act();
    } catch (error) {
      this.complaint = this.#complaintOf(error);
    } finally {
      this.busy = false;
    }
  }

  #complaintOf(error: unknown): string {
    if (error instanceof Refused) return refusalSentence(error.refusal, this.texts);
    if (error instanceof EnrolRefused) return enrolSentence(error.refusal, this.texts);
    return this.texts.say("ui-connection-lost", { detail: message(error) });
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
