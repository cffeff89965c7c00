/**
 * What a page has asked for. The answer to the newest question counts, whichever comes last, and why there was none is told
 * until there is one.
 */
export class Answer<T> {
  value = $state.raw<T | null>(null);
  /** Why the newest question has no answer. */
  trouble = $state<string | null>(null);
  /** What is there answers another question than the newest, which is on its way. */
  isOld = $state(false);
  #newest = 0;
  /** Of the value. */
  #about: unknown = null;

  /** @param worded why a question has no answer, in words */
  constructor(private readonly worded: (error: unknown) => string) {}

  /** Whether this answer counts. `about` tells one question from another; asked again, the same keeps what is there. */
  async take(asked: Promise<{ data: T }>, about: unknown = null): Promise<boolean> {
    this.#newest += 1;
    const turn = this.#newest;
    this.isOld = this.value !== null && this.#about !== about;
    try {
      const { data } = await asked;
      if (turn !== this.#newest) return false;
      this.value = data;
      this.#about = about;
      this.trouble = null;
    } catch (error) {
      if (turn !== this.#newest) return false;
      // Figures of another span under this one's name would be worse than none.
      if (this.isOld) this.value = null;
      this.trouble = this.worded(error);
    }
    this.isOld = false;
    return this.trouble === null;
  }

  /** There is nothing to ask; what was asked no longer counts. */
  clear(): void {
    this.#newest += 1;
    this.value = this.trouble = null;
    this.isOld = false;
  }
}
