import type { Question } from "../../bindings/Question";
import type { Reply } from "../../bindings/Reply";
import type { Settings } from "../../bindings/Settings";
import type { UserCommand } from "../../bindings/UserCommand";
import type { ViewModel } from "../../bindings/ViewModel";
import type { Backend } from "./backend";
import { moved } from "../moves";
import { recordedView } from "./fixture";
import { recordedReply } from "./replies";

/** A backend without an app around it: for development in a browser and for component tests. */
export class BrowserBackend implements Backend {
  readonly sent: UserCommand[] = [];
  readonly enrolled: [string, string][] = [];
  readonly asked: Question[] = [];
  #watches = new Set<{ draw: (view: ViewModel) => void; lost: (why: Error | null) => void }>();

  constructor(private current: ViewModel = recordedView()) {}

  async view(): Promise<ViewModel> {
    return this.current;
  }

  async command(command: UserCommand): Promise<void> {
    this.sent.push(command);
    if (command.command === "set_earning") this.show({ ...this.current, earn_while_idle: command.on });
    if (command.command === "save") this.show({ ...this.current, settings: this.#after(command) });
  }

  /** As the host takes a save: what came from elsewhere stays. */
  #after({ settings, base }: Extract<UserCommand, { command: "save" }>): Settings {
    const now = this.current.settings;
    return base && now ? moved(now, { before: base, after: settings }) : settings;
  }

  async enrol(coordinatorUrl: string, pairingCode: string): Promise<void> {
    this.enrolled.push([coordinatorUrl, pairingCode]);
  }

  async ask(question: Question): Promise<Reply> {
    this.asked.push(question);
    return recordedReply(question, this.current);
  }

  async onView(draw: (view: ViewModel) => void, lost: (why: Error | null) => void): Promise<() => void> {
    const watch = { draw, lost };
    this.#watches.add(watch);
    return () => this.#watches.delete(watch);
  }

  async onShown(): Promise<() => void> {
    return () => {};
  }

  /** As if the host had changed. */
  show(view: ViewModel): void {
    this.current = view;
    for (const { draw } of this.#watches) draw(view);
  }

  /** As if the connection had gone (why) or come (`null`). */
  connection(why: Error | null): void {
    for (const { lost } of this.#watches) lost(why);
  }

  get listeners(): number {
    return this.#watches.size;
  }
}
