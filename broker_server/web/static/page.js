// Refreshes the parts of the page that say so, and switches the theme. The page works without it.
"use strict";

const theme = (() => {
  try { return localStorage.getItem("theme"); } catch { return null; }
})();
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

addEventListener("DOMContentLoaded", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const current = () => document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  const name = () => { button.textContent = current() === "dark" ? "Light theme" : "Dark theme"; };
  button.hidden = false;
  name();
  dark.addEventListener("change", name);
  button.addEventListener("click", () => {
    const next = current() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try { localStorage.setItem("theme", next); } catch { /* it lasts as long as the page */ }
    name();
  });

  for (const part of document.querySelectorAll("[data-fragment]")) keep(part);
});

// Fetches a part again and again; it stays as it is while somebody selects text in it.
function keep(part) {
  const every = Number(part.dataset.seconds) * 1000;
  let last = "";
  const again = async () => {
    if (!document.hidden) {
      try {
        const answer = await fetch(part.dataset.fragment, { credentials: "same-origin", redirect: "error" });
        if (answer.status === 401) { location.assign("/login"); return; }
        if (!answer.ok) throw new Error(String(answer.status));
        const text = await answer.text();
        if (text !== last && !selected(part)) { replace(part, text); last = text; }
        document.getElementById("as-of").textContent = new Date(answer.headers.get("date")).toISOString().replace(".000", "");
        tell("");
      } catch {
        tell("The gateway does not answer. What you see is old; this page tries again.");
      }
    }
    setTimeout(again, every);
  };
  setTimeout(again, every);
}

function selected(part) {
  const selection = getSelection();
  return Boolean(selection) && !selection.isCollapsed && part.contains(selection.anchorNode);
}

// Puts new HTML in place; what was opened, scrolled or had the keyboard stays so.
function replace(part, text) {
  const open = [...part.querySelectorAll("details[open]")].map((one) => one.id);
  const scrolled = [...part.querySelectorAll(".scroll")].map((one) => one.scrollTop);
  const reached = () => [...part.querySelectorAll("a, summary, [tabindex]")];
  const place = reached().indexOf(document.activeElement);
  part.innerHTML = text; // of this gateway, escaped there
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  part.querySelectorAll(".scroll").forEach((one, index) => { one.scrollTop = scrolled[index] || 0; });
  if (place >= 0) reached()[place]?.focus({ preventScroll: true });
  const said = part.querySelector("[data-say]")?.textContent.trim();
  const say = document.getElementById("say");
  if (said && say.textContent !== said) say.textContent = said;
}

function tell(text) {
  const lost = document.getElementById("lost");
  if (lost.textContent !== text) lost.textContent = text;
  lost.hidden = !text;
}
