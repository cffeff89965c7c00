import { beforeEach, expect, test, vi } from "vitest";

import type { ViewModel } from "../src/bindings/ViewModel";
import { EnrolRefused, NotStarted, Refused, Unanswered } from "../src/lib/backend/backend";
import { recordedView } from "../src/lib/backend/fixture";
import { HttpBackend } from "../src/lib/backend/http";

interface Asked {
  path: string;
  key: string | null;
  body: unknown;
}

/** Answers as the server does; what was asked is kept. */
function answer(replies: Record<string, (signal?: AbortSignal) => Response | Promise<Response>>): Asked[] {
  const asked: Asked[] = [];
  vi.stubGlobal("fetch", async (path: string, init: RequestInit = {}) => {
    const headers = new Headers(init.headers);
    const body = typeof init.body === "string" ? JSON.parse(init.body) : null;
    asked.push({ path, key: headers.get("authorization"), body });
    return replies[path]?.(init.signal ?? undefined) ?? new Response(null, { status: 404 });
  });
  return asked;
}

const json = (value: unknown) => () => Response.json(value);

beforeEach(() => {
  sessionStorage.clear();
  history.replaceState(null, "", "/");
});

test("the word of the link is exchanged once, leaves the address, and a reloaded tab goes on", async () => {
  history.replaceState(null, "", "/#secret-word");
  const asked = answer({ "/session": json({ key: "k1" }), "/view": json(recordedView()) });
  expect((await new HttpBackend().view()).sentence).toBe(recordedView().sentence);
  expect(location.href).not.toContain("secret-word");
  expect((await new HttpBackend().view()).state).toBe("earning");
  expect(asked).toEqual([
    { path: "/session", key: null, body: { word: "secret-word" } },
    { path: "/view", key: "Bearer k1", body: null },
    { path: "/view", key: "Bearer k1", body: null },
  ]);
});

test("a used link, no link, and a key that is no longer known are told as what they are", async () => {
  const gone = { "/session": () => new Response(null, { status: 401 }), "/view": () => new Response(null, { status: 401 }) };
  answer(gone);
  for (const [address, kept] of [["/#old", null], ["/", null], ["/", "k0"]] as const) {
    history.replaceState(null, "", address);
    if (kept) sessionStorage.setItem("nightjar-key", kept);
    const failed = await new HttpBackend().view().catch((error: unknown) => error);
    expect(failed instanceof NotStarted && failed.failure).toEqual({ kind: "link_used" });
  }
});

test("refusals come as they do from the app", async () => {
  sessionStorage.setItem("nightjar-key", "k1");
  answer({
    "/command": json({ Err: { kind: "command", data: { kind: "no_game" } } }),
    "/enrol": json({ Err: { kind: "pairing_code" } }),
    "/ask": json({ Err: { kind: "failed", detail: "the journal is gone" } }),
  });
  const backend = new HttpBackend();
  await expect(backend.command({ command: "end_overrides" })).rejects.toBeInstanceOf(Refused);
  await expect(backend.enrol("https://market.example", "A")).rejects.toBeInstanceOf(EnrolRefused);
  await expect(backend.ask({ question: "checks" })).rejects.toEqual(new Unanswered("the journal is gone"));
});

test("views are drawn as they come, however they are cut, and a broken stream is told and begun anew", async () => {
  vi.useFakeTimers();
  sessionStorage.setItem("nightjar-key", "k1");
  const bytes = new TextEncoder().encode(`${JSON.stringify({ ...recordedView(), sentence: "空闲" })}\n\n`);
  const asked = answer({
    "/views": () =>
      new Response(
        new ReadableStream({
          start(stream) {
            for (let at = 0; at < bytes.length; at += 7) stream.enqueue(bytes.slice(at, at + 7));
            stream.close();
          },
        }),
      ),
  });
  const drawn: ViewModel[] = [];
  const losses: (string | null)[] = [];
  const stop = await new HttpBackend().onView(
    (view) => drawn.push(view),
    (why) => losses.push(why?.message ?? null),
  );
  await vi.advanceTimersByTimeAsync(100);
  expect(drawn.map((view) => view.sentence)).toEqual(["空闲"]);
  expect(losses).toEqual([null, "the host has ended"]);
  await vi.advanceTimersByTimeAsync(3_100);
  expect(drawn).toHaveLength(2);
  stop();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked.filter(({ path }) => path === "/views")).toHaveLength(2);
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** Says nothing more until it is given up, as through a tunnel that died. */
function dead(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error)));
}

test("a stream that falls silent is told and begun anew, and one that only beats goes on", async () => {
  vi.useFakeTimers();
  sessionStorage.setItem("nightjar-key", "k1");
  const line = new TextEncoder().encode(`${JSON.stringify(recordedView())}\n`);
  let sends: (bytes: Uint8Array) => void = () => {};
  let streams = 0;
  answer({
    "/views": (signal) => {
      streams += 1;
      return new Response(
        new ReadableStream({
          start(stream) {
            sends = (bytes) => stream.enqueue(bytes);
            signal?.addEventListener("abort", () => stream.error(signal.reason));
            stream.enqueue(line);
          },
        }),
      );
    },
  });
  const losses: (string | null)[] = [];
  let drawn = 0;
  const stop = await new HttpBackend().onView(
    () => (drawn += 1),
    (why) => losses.push(why?.message ?? null),
  );
  for (let beat = 0; beat < 8; beat += 1) {
    await vi.advanceTimersByTimeAsync(15_000);
    sends(new Uint8Array([10]));
  }
  expect([streams, drawn, losses]).toEqual([1, 1, [null]]);
  await vi.advanceTimersByTimeAsync(40_100);
  expect(losses).toEqual([null, "the host has said nothing for 40 s"]);
  await vi.advanceTimersByTimeAsync(3_100);
  expect([streams, drawn, losses.at(-1)]).toEqual([2, 2, null]);
  stop();
  await vi.advanceTimersByTimeAsync(120_000);
  expect([streams, losses.length]).toEqual([2, 3]);
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("a connection that is never answered is given up: the stream, each question, and a repair after its half hour", async () => {
  vi.useFakeTimers();
  sessionStorage.setItem("nightjar-key", "k1");
  answer({ "/views": dead, "/view": dead, "/command": dead, "/ask": dead, "/enrol": dead });
  const backend = new HttpBackend();
  const ends: string[] = [];
  const told = (name: string, asked: Promise<unknown>) =>
    asked.catch((error: Error) => ends.push(`${name}: ${error.message}`));
  void told("view", backend.view());
  void told("command", backend.command({ command: "end_overrides" }));
  void told("enrol", backend.enrol("https://market.example", "A"));
  void told("ask", backend.ask({ question: "checks" }));
  void told("repair", backend.ask({ question: "repair", repair: "docker" }));
  const losses: (string | null)[] = [];
  const stop = await backend.onView(
    () => {},
    (why) => losses.push(why?.message ?? null),
  );
  await vi.advanceTimersByTimeAsync(46_000);
  const silent = "the host has said nothing for 45 s";
  expect(ends.toSorted()).toEqual(["ask", "command", "enrol", "view"].map((name) => `${name}: ${silent}`));
  expect(losses).toEqual(["the host has said nothing for 40 s"]);
  await vi.advanceTimersByTimeAsync(1_800_000);
  expect(ends).toHaveLength(4);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(ends.slice(4)).toEqual(["repair: the host has said nothing for 1920 s"]);
  stop();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});
