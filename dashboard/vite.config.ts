import { defineConfig } from "vitest/config";

// `npm run dev` beside a running Hearth: HEARTH_ENDPOINT says where it is.
const hearth = process.env.HEARTH_ENDPOINT ?? "http://127.0.0.1:7070";

export default defineConfig({
  test: { include: ["src/**/*.test.ts"] },
  build: {
    target: "es2022",
    // Nothing may be written into the page: the policy allows files only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: {
    proxy: Object.fromEntries(["/api", "/2015-03-31"].map((path) => [path, { target: hearth, changeOrigin: false }])),
  },
});
