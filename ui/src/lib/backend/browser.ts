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
  #draws = new Set<(view: ViewModel) => void>();

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

  async onView(draw: (view: ViewModel) => void): Promise<() => void> {
    this.#draws.add(draw);
    return () => this.#draws.delete(draw);
  }

  async onShown(): Promise<() => void> {
    return () => {};
  }

  /** As if the host had changed. */
  show(view: ViewModel): void {
    this.current = view;
    for (const draw of this.#draws) draw(view);
  }

  get listeners(): number {
    return this.#draws.size;
  }
}
