import { type ReactNode, useEffect, useState } from "react";

const KEY = "holdfast-theme";
const THEMES = ["system", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const stored = (): Theme => THEMES.find((theme) => theme === localStorage.getItem(KEY)) ?? "system";

/** Follows the system unless told otherwise; remembered in this browser. */
export const ThemeToggle = (): ReactNode => {
  const [theme, setTheme] = useState<Theme>(stored);
  useEffect(() => {
    localStorage.setItem(KEY, theme);
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
  return (
    <button
      type="button"
      className="theme"
      onClick={() => setTheme(next)}
      title={`Theme: ${theme}. Switch to ${next}`}
    >
      <span aria-hidden="true">{{ system: "◐", light: "☀", dark: "☾" }[theme]}</span>
      <span className="visually-hidden">
        Theme: {theme}. Switch to {next}
      </span>
    </button>
  );
};
