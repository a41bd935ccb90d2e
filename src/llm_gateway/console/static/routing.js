// Shows the shares of requests as one types in a form; without this script its button "Show shares" does.
"use strict";

(() => {
  const panel = document.querySelector("[data-preview]");
  const form = panel && panel.closest("form");
  if (!form) return;

  const pause = 400;
  let timer = 0;
  let running = null;

  async function show() {
    if (running) running.abort();
    running = new AbortController();
    panel.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(panel.dataset.preview, {
        method: "POST", body: new URLSearchParams(new FormData(form)), signal: running.signal,
      });
      if (response.ok) {
        const holder = document.createElement("template");
        holder.innerHTML = await response.text();
        // What is the same is not announced again.
        if (holder.content.textContent !== panel.textContent) panel.replaceChildren(holder.content);
      }
    } catch (error) {
      // Typing went on, or the gateway could not be reached: the shares stay as they were.
      if (error.name === "AbortError") return;
    }
    panel.removeAttribute("aria-busy");
  }

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, pause);
  });
})();
