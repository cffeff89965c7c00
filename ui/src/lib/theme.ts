import { createSubscriber } from "svelte/reactivity";

const subscribe = createSubscriber((update) => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = new MutationObserver(update);
  system.addEventListener("change", update);
  chosen.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  return () => {
    system.removeEventListener("change", update);
    chosen.disconnect();
  };
});

/** What reads this runs again when the page's colours change, by the system's theme or by the owner's choice. */
export function withTheme(): void {
  subscribe();
}
