import type { EnrolRefusal } from "../../bindings/EnrolRefusal";
import type { Question } from "../../bindings/Question";
import type { QuestionRefusal } from "../../bindings/QuestionRefusal";
import type { Refusal } from "../../bindings/Refusal";
import type { Reply } from "../../bindings/Reply";
import type { UserCommand } from "../../bindings/UserCommand";
import type { ViewModel } from "../../bindings/ViewModel";
import { type Backend, EnrolRefused, NotStarted, Refused, Unanswered } from "./backend";

/** Where this tab keeps its key; no other tab and no other port can read it. */
const KEY = "nightjar-key";
const AGAIN_MS = 3_000;
/** The server gives the host half a minute for an answer. */
const ANSWER_MS = 45_000;
/** And a repair 31 minutes. */
const REPAIRED_MS = 32 * 60_000;
/** The server sends something each 15 s. A tunnel that died, or a PC that sleeps, sends nothing and does not say so. */
const SILENCE_MS = 40_000;

type Result<E> = { Ok: unknown } | { Err: E };

function linkUsed(): NotStarted {
  return new NotStarted({ kind: "link_used" });
}

/** The host behind `nightjar host --ui`. */
export class HttpBackend implements Backend {
  readonly #key: Promise<string>;

  constructor() {
    this.#key = enter();
    // Whoever asks is told.
    this.#key.catch(() => {});
  }

  async view(): Promise<ViewModel> {
    return within(ANSWER_MS, async (signal) => (await this.#fetch("/view", { signal })).json());
  }

  async command(command: UserCommand): Promise<void> {
    await this.#post<Refusal>("/command", command, (refusal) => new Refused(refusal));
  }

  async enrol(coordinatorUrl: string, pairingCode: string): Promise<void> {
    const body = { coordinator_url: coordinatorUrl, pairing_code: pairingCode };
    await this.#post<EnrolRefusal>("/enrol", body, (refusal) => new EnrolRefused(refusal));
  }

  async ask(question: Question): Promise<Reply> {
    const refused = (refusal: QuestionRefusal) => new Unanswered(refusal.detail);
    const withinMs = question.question === "repair" ? REPAIRED_MS : ANSWER_MS;
    return (await this.#post<QuestionRefusal>("/ask", question, refused, withinMs)) as Reply;
  }

  /** One stream while the page is seen; begun anew where it breaks or falls silent. */
  async onView(draw: (view: ViewModel) => void, lost: (why: Error | null) => void): Promise<() => void> {
    let reading: AbortController | null = null;
    let waiting: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      const control = new AbortController();
      reading = control;
      let silence: ReturnType<typeof setTimeout> | undefined;
      const heard = () => {
        clearTimeout(silence);
        silence = setTimeout(() => control.abort(silent(SILENCE_MS)), SILENCE_MS);
      };
      heard();
      try {
        const answer = await this.#fetch("/views", { signal: control.signal });
        lost(null);
        await lines(answer, heard, (line) => draw(JSON.parse(line) as ViewModel));
        throw new Error("the host has ended");
      } catch (error) {
        // Whoever has stopped it is told nothing.
        if (reading !== control) return;
        lost(error as Error);
        if (!(error instanceof NotStarted)) waiting = setTimeout(() => void read(), AGAIN_MS);
      } finally {
        clearTimeout(silence);
      }
    };
    const stop = () => {
      clearTimeout(waiting);
      reading?.abort();
      reading = null;
    };
    // Nobody looks: the host need not read its cards each second.
    const look = () => {
      if (document.hidden) stop();
      else if (reading === null) void read();
    };
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      document.removeEventListener("visibilitychange", look);
      stop();
    };
  }

  /** No link leads to a browser's tab but its own. */
  async onShown(): Promise<() => void> {
    return () => {};
  }

  async #post<E>(
    path: string,
    body: unknown,
    refused: (refusal: E) => Error,
    withinMs = ANSWER_MS,
  ): Promise<unknown> {
    const headers = { "content-type": "application/json" };
    const asked = { method: "POST", headers, body: JSON.stringify(body) };
    const put = async (signal: AbortSignal) => (await this.#fetch(path, { ...asked, signal })).json();
    const result = (await within(withinMs, put)) as Result<E>;
    if ("Err" in result) throw refused(result.Err);
    return result.Ok;
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const authorization = `Bearer ${await this.#key}`;
    const answer = await fetch(path, { ...init, headers: { ...init.headers, authorization } });
    if (answer.status === 401) throw linkUsed();
    if (!answer.ok) throw new Error((await answer.text()) || `${answer.status}`);
    return answer;
  }
}

/** Exchanges the link's word for this tab's key, once; a reloaded tab has it still. */
async function enter(): Promise<string> {
  const word = location.hash.slice(1);
  if (word === "") {
    const kept = sessionStorage.getItem(KEY);
    if (kept === null) throw linkUsed();
    return kept;
  }
  // Neither the history nor a bookmark keeps it.
  history.replaceState(null, "", location.pathname);
  const headers = { "content-type": "application/json" };
  const key = await within(ANSWER_MS, async (signal) => {
    const answer = await fetch("/session", { method: "POST", headers, body: JSON.stringify({ word }), signal });
    if (!answer.ok) throw linkUsed();
    return ((await answer.json()) as { key: string }).key;
  });
  sessionStorage.setItem(KEY, key);
  return key;
}

function silent(forMs: number): Error {
  return new Error(`the host has said nothing for ${forMs / 1_000} s`);
}

/** An answer that does not come is given up, its body's rest too. */
async function within<T>(ms: number, ask: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const control = new AbortController();
  const over = setTimeout(() => control.abort(silent(ms)), ms);
  try {
    return await ask(control.signal);
  } finally {
    clearTimeout(over);
  }
}

/** Each line that is not empty, as it comes; an empty one only says that the stream lives. */
async function lines(answer: Response, heard: () => void, take: (line: string) => void): Promise<void> {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const part = await reader?.read();
    if (!part || part.done) return;
    heard();
    const found = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = found.pop() ?? "";
    for (const line of found) if (line !== "") take(line);
  }
}
