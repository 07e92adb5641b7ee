import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  root: "src/web",
  plugins: [react()],
  resolve: { conditions: ["holdfast-source", "browser", "module", "import", "default"] },
  build: { outDir: "../../dist/web", emptyOutDir: true, sourcemap: false, target: "es2022" },
});
