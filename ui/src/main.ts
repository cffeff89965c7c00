import "./app.css";

import { mount } from "svelte";

import { TauriBackend } from "./lib/backend/tauri";
import { Board } from "./lib/board.svelte";
import App from "./views/App.svelte";

/** `npm run dev` in a browser draws a recorded view; the built window never holds one. */
async function backend() {
  if (import.meta.env.DEV && !("__TAURI_INTERNALS__" in window)) {
    const { BrowserBackend } = await import("./lib/backend/browser");
    return new BrowserBackend();
  }
  return new TauriBackend();
}

const target = document.getElementById("app");
if (!target) throw new Error("index.html has no element with the id app");
mount(App, { target, props: { board: new Board(await backend()) } });
