import type { Invitation } from "../bindings/Invitation";
import type { Question } from "../bindings/Question";
import type { Reply } from "../bindings/Reply";
import type { Settings } from "../bindings/Settings";
import type { UserCommand } from "../bindings/UserCommand";
import type { ViewModel } from "../bindings/ViewModel";
import { type Backend, EnrolRefused, type NothingThere, NotStarted, Refused, Unanswered } from "./backend/backend";
import { type Page, PAGES } from "./pages";
import { enrolSentence, refusalSentence } from "./refusals";
import { systemLanguage, type Texts, textsOf } from "./texts";

/** Settings to go back to. */
const MOST_UNDOS = 30;
/** So long "Saved" is said; Ctrl+Z goes back later too. */
const SAID_MS = 10_000;
/** Readings kept for the small curves: two minutes. */
const KEPT_READINGS = 120;

export interface Reading {
  temperature: number | null;
  power: number | null;
  utilisation: number | null;
  vram: number | null;
}

/** What the window knows: the newest view model and whatever went wrong last. It decides nothing. */
export class Board {
  view = $state.raw<ViewModel | null>(null);
  failure = $state.raw<NothingThere | null>(null);
  /** A sentence about the last command that was not carried out. */
  complaint = $state<string | null>(null);
  page = $state<Page>("now");
  /** A change was saved and can be taken back. */
  undoable = $state(false);
  /** The first run was left for now. */
  introductionLeft = $state(false);
  /** A market that a link has named; nothing is joined by it. */
  invitation = $state.raw<Invitation | null>(null);
  /** The last readings of each card, the oldest first. */
  readings = $state.raw<Record<string, Reading[]>>({});
  /** A command is on its way. */
  busy = $state(false);
  readonly texts: Texts = $derived(textsOf(this.view?.language ?? systemLanguage()));

  #before: Settings[] = [];
  #saying: ReturnType<typeof setTimeout> | undefined;
  /** A view that came while nobody looked. */
  #unseen: ViewModel | null = null;

  constructor(private readonly backend: Backend) {
    const first = backend.first?.();
    if (first) this.#show(first);
  }

  /** Draws the view now and after each change, until the returned function is called. */
  connect(): () => void {
    let over = false;
    let stop: (() => void) | null = null;
    let stopShown: (() => void) | null = null;
    const draw = (view: ViewModel) => {
      if (over) return;
      if (document.hidden) {
        this.#unseen = view;
        return;
      }
      this.#show(view);
    };
    const look = () => {
      if (document.hidden || !this.#unseen) return;
      this.#show(this.#unseen);
    };
    document.addEventListener("visibilitychange", look);
    const lost = (why: unknown) => {
      if (over) return;
      if (why instanceof NotStarted) this.failure = why.failure;
      else if (why !== null) this.complaint = this.texts.say("ui-connection-lost", { detail: message(why) });
      else this.complaint = null;
    };
    const connecting = async () => {
      try {
        // The subscription first, so that no change falls between the two.
        stop = await this.backend.onView(draw, lost);
        stopShown = await this.backend.onShown(() => void this.seekInvitation());
        if (over) return [stop, stopShown].forEach((end) => end());
        const view = await this.backend.view();
        // A change that came meanwhile is newer than this answer.
        if (!this.view || this.view.at < view.at) this.#show(view);
      } catch (error) {
        lost(error);
      }
    };
    void connecting();
    return () => {
      over = true;
      document.removeEventListener("visibilitychange", look);
      stop?.();
      stopShown?.();
    };
  }

  #show(view: ViewModel): void {
    this.#unseen = null;
    const readings: Record<string, Reading[]> = {};
    for (const { card } of view.cards) {
      const { uuid, temperature_celsius, power_watts, utilisation_percent, vram_used_bytes } = card.reading;
      const now = {
        temperature: temperature_celsius,
        power: power_watts,
        utilisation: utilisation_percent,
        vram: vram_used_bytes,
      };
      readings[uuid] = [...(this.readings[uuid] ?? []), now].slice(-KEPT_READINGS);
    }
    this.readings = readings;
    this.view = view;
  }

  /** The curves begin with what the host remembers. */
  async recall(): Promise<void> {
    try {
      const question = { question: "history", since_ms: KEPT_READINGS * 1_000, points: KEPT_READINGS } as const;
      const { data } = await this.ask(question, "history");
      const readings = { ...this.readings };
      for (const card of data) {
        const drawn = readings[card.uuid] ?? [];
        const past = card.points.map((point) => ({
          temperature: point.temperature_celsius?.mean ?? null,
          power: point.power_watts?.mean ?? null,
          utilisation: point.utilisation_percent?.mean ?? null,
          vram: point.vram_used_mib === null ? null : point.vram_used_mib.mean * 2 ** 20,
        }));
        readings[card.uuid] = [...past.slice(0, Math.max(0, past.length - drawn.length)), ...drawn].slice(-KEPT_READINGS);
      }
      this.readings = readings;
    } catch {
      // Without a past the curves begin now.
    }
  }

  go(page: Page): void {
    this.page = page;
  }

  /** Alt and a digit open a page; Ctrl+Z takes the last change back, outside of a field. */
  goByKey(event: KeyboardEvent): void {
    const inField = event.target instanceof Element && event.target.matches("input, textarea");
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key === "z" && !inField) {
      event.preventDefault();
      void this.undo();
      return;
    }
    const page = event.altKey ? PAGES[Number(event.key) - 1] : undefined;
    if (page) this.page = page;
  }

  /** @throws {Unanswered} */
  ask<K extends Reply["reply"]>(question: Question, kind: K): Promise<Extract<Reply, { reply: K }>> {
    return this.backend.ask(question).then((reply) => {
      if (reply.reply !== kind) throw new Error(`${reply.reply} in place of ${kind}`);
      return reply as Extract<Reply, { reply: K }>;
    });
  }

  /** Asks for something to happen; says why it did not. */
  async act<K extends Reply["reply"]>(question: Question, kind: K): Promise<Extract<Reply, { reply: K }> | null> {
    let answer: Extract<Reply, { reply: K }> | null = null;
    await this.#attempt(async () => {
      answer = await this.ask(question, kind);
    });
    return answer;
  }

  /** Changes the settings at once; they can be taken back. */
  async change(mutate: (settings: Settings) => void): Promise<void> {
    const before = this.view?.settings;
    if (!before) {
      this.complaint = this.texts.say("refusal-settings-unreadable");
      return;
    }
    const settings = structuredClone($state.snapshot(before)) as Settings;
    mutate(settings);
    if (JSON.stringify(settings) === JSON.stringify(before)) return;
    const saved = await this.#attempt(() => this.backend.command({ command: "save", settings }));
    if (saved) this.#remember(before);
  }

  /** A preset is a change of settings too. */
  async changeBy(command: UserCommand): Promise<void> {
    const before = this.view?.settings;
    const done = await this.#attempt(() => this.backend.command(command));
    if (done && before) this.#remember(before);
  }

  async undo(): Promise<void> {
    const settings = this.#before.at(-1);
    if (!settings) return;
    const back = await this.#attempt(() => this.backend.command({ command: "save", settings }));
    if (back) this.#before.pop();
    this.#say(this.#before.length > 0);
  }

  #remember(before: Settings): void {
    this.#before = [...this.#before, structuredClone($state.snapshot(before)) as Settings].slice(-MOST_UNDOS);
    this.#say(true);
  }

  #say(undoable: boolean): void {
    clearTimeout(this.#saying);
    this.undoable = undoable;
    if (undoable) this.#saying = setTimeout(() => (this.undoable = false), SAID_MS);
  }

  async send(command: UserCommand): Promise<void> {
    await this.#attempt(() => this.backend.command(command));
  }

  async enrol(coordinatorUrl: string, pairingCode: string): Promise<boolean> {
    return this.#attempt(() => this.backend.enrol(coordinatorUrl, pairingCode));
  }

  /** A link that was opened brings the window to the front, and is asked for then. */
  async seekInvitation(): Promise<void> {
    try {
      const { data } = await this.ask({ question: "invitation" }, "invitation");
      if (data) this.invitation = data;
    } catch {
      // No link, then; whatever is wrong is told where it is asked for.
    }
  }

  async accept(invitation: Invitation): Promise<void> {
    if (await this.enrol(invitation.market, invitation.code)) this.invitation = null;
  }

  dismiss(): void {
    this.complaint = null;
  }

  /** Whether it was done. One at a time. */
  async #attempt(act: () => Promise<void>): Promise<boolean> {
    if (this.busy) return false;
    this.busy = true;
    this.complaint = null;
    try {
      await act();
      return true;
    } catch (error) {
      this.complaint = this.#complaintOf(error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  #complaintOf(error: unknown): string {
    if (error instanceof Refused) return refusalSentence(error.refusal, this.texts);
    if (error instanceof Unanswered) return this.texts.say("ui-command-failed", { detail: error.message });
    if (error instanceof EnrolRefused) return enrolSentence(error.refusal, this.texts);
    return this.texts.say("ui-connection-lost", { detail: message(error) });
  }
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
