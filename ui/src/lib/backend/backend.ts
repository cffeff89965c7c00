import type { EnrolRefusal } from "../../bindings/EnrolRefusal";
import type { Question } from "../../bindings/Question";
import type { Refusal } from "../../bindings/Refusal";
import type { Reply } from "../../bindings/Reply";
import type { StartFailure } from "../../bindings/StartFailure";
import type { UserCommand } from "../../bindings/UserCommand";
import type { ViewModel } from "../../bindings/ViewModel";

/** A command that was not carried out; nothing has changed. */
export class Refused extends Error {
  constructor(readonly refusal: Refusal) {
    super(refusal.kind);
  }
}

/** This PC did not join the market; it belongs to whatever market it belonged to. */
export class EnrolRefused extends Error {
  constructor(readonly refusal: EnrolRefusal) {
    super(refusal.kind);
  }
}

/** Why there is nothing behind this window; in a browser, also that its link was used or has run out. */
export type NothingThere = StartFailure | { kind: "link_used" };

/** There is no running host behind this window, and there will be none before it is opened again. */
export class NotStarted extends Error {
  constructor(readonly failure: NothingThere) {
    super(failure.kind);
  }
}

/** A question without an answer; the detail is in English. */
export class Unanswered extends Error {}

/** Everything that the window asks of the app. */
export interface Backend {
  /** A view that came with the page, to be drawn before any is asked for. */
  first?(): ViewModel | null;
  /** @throws {NotStarted} */
  view(): Promise<ViewModel>;
  /** @throws {Refused} */
  command(command: UserCommand): Promise<void>;
  /** @throws {EnrolRefused} */
  enrol(coordinatorUrl: string, pairingCode: string): Promise<void>;
  /** @throws {Unanswered} */
  ask(question: Question): Promise<Reply>;
  /**
   * Calls `draw` after each change until the returned function is called, and `lost` where a connection is gone (why) or
   * there again (`null`).
   */
  onView(draw: (view: ViewModel) => void, lost: (why: Error | null) => void): Promise<() => void>;
  /** Calls `look` when somebody asks for the window although it is there, until the returned function is called. */
  onShown(look: () => void): Promise<() => void>;
}
