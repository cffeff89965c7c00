/** The pages, in the order of the navigation. */
export const PAGES = ["now", "earnings", "card", "when", "network", "work", "market", "help"] as const;
export type Page = (typeof PAGES)[number];

/** How many screens the first run has; the host counts those that are passed. */
export const INTRODUCTION_SCREENS = 3;
