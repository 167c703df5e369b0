// What every page needs: times in the reader's zone, the live part, forms that speak JSON, the theme.

import "./claim.js";
import "./forms.js";
import { start } from "./live.js";
import { localTimes } from "./times.js";

document.querySelector("[data-theme-switch]").addEventListener("click", (event) => {
  const theme = document.documentElement.dataset.theme === "light" ? "dark" : "light";
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=strict`;
  event.target.textContent = theme === "light" ? "Dark" : "Light";
});

localTimes(document);
start();
