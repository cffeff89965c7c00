import "./app.css";

import { mount } from "svelte";

import { HttpBackend } from "./lib/backend/http";
import { TauriBackend } from "./lib/backend/tauri";
import { Board } from "./lib/board.svelte";
import { PAGES } from "./lib/pages";
import App from "./views/App.svelte";

/** `npm run dev` in a browser draws a recorded view; the built window never holds one. */
async function backend() {
  if ((import.meta.env.DEV || import.meta.env.MODE === "recorded") && !("__TAURI_INTERNALS__" in window)) {
    const [{ BrowserBackend }, { developerView }] = await Promise.all([
      import("./lib/backend/browser"),
      import("./lib/backend/fixture"),
    ]);
    return new BrowserBackend(developerView(new URLSearchParams(location.search)));
  }
  return "__TAURI_INTERNALS__" in window ? new TauriBackend() : new HttpBackend();
}

const target = document.getElementById("app");
if (!target) throw new Error("index.html has no element with the id app");
const board = new Board(await backend());
if (import.meta.env.MODE === "recorded") {
  const page = PAGES.find((page) => page === new URLSearchParams(location.search).get("page"));
  if (page) board.go(page);
}
mount(App, { target, props: { board } });
