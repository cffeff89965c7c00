import type { Invitation } from "../bindings/Invitation";
import type { Question } from "../bindings/Question";
import type { Repair } from "../bindings/Repair";
import type { RepairOutcome } from "../bindings/RepairOutcome";
import type { Reply } from "../bindings/Reply";
import type { Settings } from "../bindings/Settings";
import type { UserCommand } from "../bindings/UserCommand";
import type { ViewModel } from "../bindings/ViewModel";
import { type Asked, askedBefore } from "./asking";
import { type Backend, EnrolRefused, type NothingThere, NotStarted, Refused, Unanswered } from "./backend/backend";
import { isSame, type Move, moved } from "./moves";
import { INTRODUCTION_SCREENS, type Page, PAGES } from "./pages";
import { enrolSentence, refusalSentence } from "./refusals";
import { systemLanguage, type Texts, textsOf } from "./texts";

/** Changes that can be taken back. */
const MOST_UNDOS = 30;
/** So long "Saved" is said; Ctrl+Z goes back later too. */
const SAID_MS = 10_000;
/** So soon after a command the view says what came of it, if anything did. */
const SHOWN_WITHIN_MS = 3_000;
/** Where a key is text. What is only clicked or drawn keeps the focus and has nothing to take back. */
const TYPED_IN = "textarea, input:not([type=radio], [type=checkbox], [type=range])";
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
  /** How often the connection came up. What was asked through one that is gone has to be asked again. */
  connections = $state(0);
  /** A change was saved and can be taken back. */
  undoable = $state(false);
  /** The first run was left for now. */
  introductionLeft = $state(false);
  /**
   * Whether the first run is shown. It is not begun with who is in a market already; once this window has begun it, it goes
   * on to its end, since joining one is a part of it and its estimate takes the market's prices from then on.
   */
  readonly introduces: boolean = $derived.by(() => this.#hasBegun && !this.introductionLeft && isNew(this.view));
  #hasBegun = $state(false);
  /** A market that a link has named; nothing is joined by it. */
  invitation = $state.raw<Invitation | null>(null);
  /** The last readings of each card, the oldest first. */
  readings = $state.raw<Record<string, Reading[]>>({});
  /** A question that the owner has to answer before a change is saved. */
  asked = $state.raw<(Asked & { answer: (yes: boolean) => void }) | null>(null);
  /** Something is on its way that takes a moment. Settings can be changed all the same. */
  readonly busy: boolean = $derived.by(() => this.#underWay > 0);
  /** A market is asked to take this PC, which may take its time. */
  joins = $state(false);
  /** The check that is being mended, which may take half an hour, and what became of the last that was. */
  mending = $state<string | null>(null);
  mended = $state.raw<{ id: string; outcome: RepairOutcome } | null>(null);
  readonly texts: Texts = $derived(textsOf(this.view?.language ?? systemLanguage(), this.view?.time_zone));

  #underWay = $state(0);
  #undos: Move<Settings>[] = [];
  #saying: ReturnType<typeof setTimeout> | undefined;
  /** The host's settings, as far as it has told or taken them. */
  #known: Settings | null = null;
  /** Changes that are drawn and not saved yet. */
  #unsaved: Move<Settings>[] = [];
  /** Saves come one after the other. */
  #saves: Promise<unknown> = Promise.resolve();
  #looksForChange = new Set<() => void>();
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
      else {
        this.complaint = null;
        this.connections += 1;
      }
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
    this.#known = view.settings;
    this.#hasBegun ||= isNew(view) && view.identity.coordinator === null;
    this.view = view;
    this.#draw();
    for (const look of this.#looksForChange) look();
  }

  /** With what is on its way: a control stands where it was put, also while that is saved. */
  #draw(): void {
    if (!this.view || !this.#known) return;
    this.view = { ...this.view, settings: this.#unsaved.reduce(moved, this.#known) };
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

  /** Alt and a digit open a page; Ctrl+Z takes the last change back, outside of a field that takes its own back. */
  goByKey(event: KeyboardEvent): void {
    const inField = event.target instanceof Element && event.target.matches(TYPED_IN);
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

  /** Why a question of a page has no answer. */
  unanswered(error: unknown): string {
    return this.texts.say("ui-not-answered", { detail: message(error) });
  }

  /** Asks for something to happen; says why it did not. */
  async act<K extends Reply["reply"]>(question: Question, kind: K): Promise<Extract<Reply, { reply: K }> | null> {
    let answer: Extract<Reply, { reply: K }> | null = null;
    await this.#attempt(async () => {
      answer = await this.ask(question, kind);
    });
    return answer;
  }

  /** Changes the settings at once; what was changed can be taken back. Whether what was wanted holds now. */
  async change(mutate: (settings: Settings) => void): Promise<boolean> {
    const move = this.#moveBy(mutate);
    if (!move || isSame(move.before, move.after)) return move !== null;
    const done = await this.#save(move);
    if (done) this.#remember(move);
    return done;
  }

  /** Notes how far the first run has come. That is no choice to take back. */
  async pass(screens: number): Promise<void> {
    const move = this.#moveBy((settings) => void (settings.introduced = screens));
    if (move) await this.#save(move);
  }

  #moveBy(mutate: (settings: Settings) => void): Move<Settings> | null {
    const before = this.view?.settings;
    if (!before) {
      this.complaint = this.texts.say("refusal-settings-unreadable");
      return null;
    }
    const after = structuredClone($state.snapshot(before)) as Settings;
    mutate(after);
    return { before, after: $state.snapshot(after) as Settings };
  }

  /** Whether it was done. What takes a wall away is asked for first. */
  async #save(move: Move<Settings>): Promise<boolean> {
    if (isSame(move.before, move.after)) return false;
    const asked = askedBefore(move.before, move.after, this.texts);
    if (asked && !(await this.#isAgreed(asked))) return false;
    this.#unsaved = [...this.#unsaved, move];
    this.#draw();
    const done = await this.#inTurn(async () => {
      // The host takes over what differs: what came from elsewhere in the meantime stays.
      await this.backend.command({ command: "save", settings: move.after, base: move.before });
      if (this.#known) this.#known = moved(this.#known, move);
    });
    this.#unsaved = this.#unsaved.filter((other) => other !== move);
    this.#draw();
    return done;
  }

  #isAgreed(asked: Asked): Promise<boolean> {
    this.asked?.answer(false);
    return new Promise((resolve) => {
      const answer = (yes: boolean) => {
        this.asked = null;
        resolve(yes);
      };
      this.asked = { ...asked, answer };
    });
  }

  /** A command that changes the settings, such as a preset. Over when the view says what it changed. */
  async changeBy(command: UserCommand): Promise<void> {
    let before: Settings | null = null;
    const done = await this.#inTurn(async () => {
      before = this.#known;
      await this.backend.command(command);
    });
    if (!done || !before) return;
    const after = await this.#changedFrom(before);
    if (after) this.#remember({ before, after });
  }

  /** The host's settings once they differ from these; `null` where they do not soon. */
  #changedFrom(before: Settings): Promise<Settings | null> {
    return new Promise((resolve) => {
      const end = (after: Settings | null) => {
        clearTimeout(over);
        this.#looksForChange.delete(look);
        resolve(after);
      };
      const look = () => {
        if (this.#known && !isSame(this.#known, before)) end(this.#known);
      };
      const over = setTimeout(() => end(null), SHOWN_WITHIN_MS);
      this.#looksForChange.add(look);
      look();
    });
  }

  /** Takes the last change back, as far as nobody has changed the same since. Whether to earn is never part of it. */
  async undo(): Promise<void> {
    if (this.asked) return;
    for (let move = this.#undos.at(-1); move; move = this.#undos.at(-1)) {
      const now = this.view?.settings;
      if (!now) return;
      const back = moved(now, { before: move.after, after: move.before });
      const wanted = { ...back, earn_while_idle: now.earn_while_idle };
      if (!isSame(now, wanted)) {
        if (!(await this.#save({ before: now, after: wanted }))) return;
        this.#undos = this.#undos.filter((other) => other !== move);
        break;
      }
      this.#undos = this.#undos.slice(0, -1);
    }
    this.#say(this.#undos.length > 0);
  }

  #remember(move: Move<Settings>): void {
    this.#undos = [...this.#undos, move].slice(-MOST_UNDOS);
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
    if (this.joins) return false;
    this.joins = true;
    const joined = await this.#told(() => this.backend.enrol(coordinatorUrl, pairingCode));
    this.joins = false;
    return joined;
  }

  /** Mends what a check found, one at a time. It goes on when its page is left. */
  async mend(id: string, repair: Repair): Promise<void> {
    if (this.mending !== null) return;
    this.mended = null;
    this.mending = id;
    await this.#told(async () => {
      const { data: outcome } = await this.ask({ question: "repair", repair }, "repaired");
      this.mended = { id, outcome };
    });
    this.mending = null;
  }

  /** A link that was opened brings the window to the front, and is asked for then. What is wrong with it is told. */
  async seekInvitation(): Promise<void> {
    try {
      const { data } = await this.ask({ question: "invitation" }, "invitation");
      if (data?.link === "market") this.invitation = data;
      else if (data) this.complaint = data.sentence;
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

  /** After what came before it. */
  #inTurn(act: () => Promise<void>): Promise<boolean> {
    const done = this.#saves.then(() => this.#attempt(act));
    this.#saves = done;
    return done;
  }

  /** Whether it was done. */
  async #attempt(act: () => Promise<void>): Promise<boolean> {
    this.#underWay += 1;
    const done = await this.#told(act);
    this.#underWay -= 1;
    return done;
  }

  /** Whether it was done; why not is told. */
  async #told(act: () => Promise<void>): Promise<boolean> {
    this.complaint = null;
    try {
      await act();
      return true;
    } catch (error) {
      this.complaint = this.#complaintOf(error);
      return false;
    }
  }

  #complaintOf(error: unknown): string {
    if (error instanceof Refused) return refusalSentence(error.refusal, this.texts);
    if (error instanceof Unanswered) return this.texts.say("ui-command-failed", { detail: error.message });
    if (error instanceof EnrolRefused) return enrolSentence(error.refusal, this.texts);
    return this.texts.say("ui-connection-lost", { detail: message(error) });
  }
}

/** Whether its owner has not seen the first run to its end. */
function isNew(view: ViewModel | null): boolean {
  return view !== null && view.settings !== null && view.settings.introduced < INTRODUCTION_SCREENS;
}

function message(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
