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
    return (await this.#fetch("/view", {})).json();
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
    return (await this.#post<QuestionRefusal>("/ask", question, refused)) as Reply;
  }

  /** One stream while the page is seen; begun anew where it breaks. */
  async onView(draw: (view: ViewModel) => void, lost: (why: Error | null) => void): Promise<() => void> {
    let over = false;
    let reading: AbortController | null = null;
    let waiting: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      const control = new AbortController();
      reading = control;
      try {
        const answer = await this.#fetch("/views", { signal: control.signal });
        lost(null);
        await lines(answer, (line) => draw(JSON.parse(line) as ViewModel));
        throw new Error("the host has ended");
      } catch (error) {
        if (over || control.signal.aborted) return;
        lost(error as Error);
        if (!(error instanceof NotStarted)) waiting = setTimeout(() => void read(), AGAIN_MS);
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
      over = true;
      document.removeEventListener("visibilitychange", look);
      stop();
    };
  }

  /** No link leads to a browser's tab but its own. */
  async onShown(): Promise<() => void> {
    return () => {};
  }

  async #post<E>(path: string, body: unknown, refused: (refusal: E) => Error): Promise<unknown> {
    const headers = { "content-type": "application/json" };
    const answer = await this.#fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    const result = (await answer.json()) as Result<E>;
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
  const answer = await fetch("/session", { method: "POST", headers, body: JSON.stringify({ word }) });
  if (!answer.ok) throw linkUsed();
  const { key } = (await answer.json()) as { key: string };
  sessionStorage.setItem(KEY, key);
  return key;
}

/** Each line that is not empty, as it comes. */
async function lines(answer: Response, take: (line: string) => void): Promise<void> {
  const reader = answer.body?.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const part = await reader?.read();
    if (!part || part.done) return;
    const found = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = found.pop() ?? "";
    for (const line of found) if (line !== "") take(line);
  }
}
