import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";

export default defineConfig(({ mode }) => ({
  plugins: [svelte({ configFile: false })],
  // Every asset is a file of its own: the content security policy allows no data: addresses but for pictures.
  build: { target: "es2022", cssTarget: ["safari18", "chrome123"], assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { host: "127.0.0.1", fs: { allow: mode === "test" ? [".."] : [".", "../crates/protocol/locales"] } },
  // Svelte has a server and a browser build; under vitest the browser's is wanted.
  resolve: mode === "test" ? { conditions: ["browser"] } : {},
  test: { environment: "jsdom", css: true, include: ["tests/**/*.test.ts"], setupFiles: ["tests/setup.ts"], testTimeout: 60_000 },
}));
