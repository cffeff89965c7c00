/**
 * Asks now, and again so long after each answer, until the returned function is called. While nobody sees the page nothing
 * is asked; when it is seen again, at once.
 */
export function again(afterMs: number, ask: () => Promise<unknown>): () => void {
  let over = false;
  let asks = false;
  let waiting: ReturnType<typeof setTimeout> | undefined;
  const round = async () => {
    clearTimeout(waiting);
    if (over || asks || document.hidden) return;
    asks = true;
    await ask().catch(() => {});
    asks = false;
    if (!over) waiting = setTimeout(() => void round(), afterMs);
  };
  const look = () => void round();
  document.addEventListener("visibilitychange", look);
  void round();
  return () => {
    over = true;
    clearTimeout(waiting);
    document.removeEventListener("visibilitychange", look);
  };
}
