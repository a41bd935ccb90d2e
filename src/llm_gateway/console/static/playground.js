// The playground's conversation: turns of a user, each answered by one to three models side by side.
"use strict";

(() => {
  const form = document.getElementById("pg");
  if (!form) return;
  const { element, button } = PlaygroundText;
  const { userMessage, messagesFor, hasOpenCalls } = PlaygroundConversation;
  const MOST_MODELS = 3;
  const NEAR = 120;
  const GAP = 16;
  const place = (id) => document.getElementById(id);
  const [turnList, emptyHint, prompt, send, stop, problemPlace, said] = ["pg-turns", "pg-empty", "pg-prompt", "pg-send", "pg-stop", "pg-problem", "pg-said"].map(place);
  const mayChange = !send.disabled;
  const MEMORY = `playground ${form.dataset.path}`;

  let turns = [];
  const running = new Map();

  // --- settings and what they make ---

  const modelFields = () => [...form.querySelectorAll("[name=model]")];

  function showProblem(message) {
    problemPlace.replaceChildren(...(message ? [element("div", "notice bad", element("p", "", message))] : []));
  }

  // --- sending ---

  function settingsOrProblem() {
    const settings = PlaygroundRequest.read(form);
    if (!settings.problem) return settings;
    settings.problem.focus();
    return null;
  }

  async function answer(turnAt, column, settings) {
    const turn = turns[turnAt];
    const steps = turn.replies[column] ??= [];
    const model = settings.models[column];
    const body = PlaygroundRequest.body(settings, model, messagesFor(turns, column, turnAt, steps.length));
    const step = PlaygroundStream.newStep(model);
    steps.push(step);
    const view = showStep(turn, column, step);
    const control = new AbortController();
    running.set(step, control);
    showRunning();
    await PlaygroundStream.run(step, {
      url: PlaygroundRequest.url(form, settings),
      headers: PlaygroundRequest.headers(settings),
      body,
      signal: control.signal,
      onChange: (added) => keepInView(() => view.change(added)),
    });
    if (PlaygroundRequest.wantsJson(settings) && step.finish === "stop") step.json = isJson(step.content);
    running.delete(step);
    keepInView(() => view.finish());
    showRunning();
    save();
    showCode();
    const words = step.problem ? step.problem.message : step.content.slice(0, 500);
    said.textContent = `${model}: ${step.stopped ? "stopped. " : ""}${words}`;
  }

  function isJson(text) {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  }

  function sendTurn(text, images) {
    showProblem("");
    const settings = settingsOrProblem();
    if (!settings) return false;
    if (!text.trim() && !images.length) {
      showProblem("Write a message first.");
      return false;
    }
    const last = turns.at(-1);
    if (last && settings.models.some((_, column) => hasOpenCalls(last.replies[column]))) {
      showProblem("A tool call waits for its result: fill it in above and send it, or retry the answer.");
      turnList.querySelector("li:last-child .pg-calls textarea")?.focus();
      return false;
    }
    turns.push({ text, images, replies: [] });
    showTurn(turns.length - 1);
    runAll(turns.length - 1, settings);
    return true;
  }

  function runAll(turnAt, settings) {
    settings.models.forEach((_, column) => { answer(turnAt, column, settings); });
    save();
    window.scrollBy(0, Math.max(endOfTurns() + GAP, 0));
  }

  function stopAll() {
    for (const control of running.values()) control.abort();
  }

  function retry(turn, column, step) {
    const settings = settingsOrProblem();
    if (!settings) return;
    const turnAt = turns.indexOf(turn);
    forgetAfter(turnAt);
    const steps = turn.replies[column];
    for (const dropped of steps.splice(steps.indexOf(step))) running.get(dropped)?.abort();
    if (column >= settings.models.length) settings.models[column] = step.model;
    redraw(turnAt);
    answer(turnAt, column, settings);
    // The button that was pressed is gone.
    prompt.focus({ preventScroll: true });
  }

  function answerTools(turn, column, step) {
    const settings = settingsOrProblem();
    if (!settings) return;
    const turnAt = turns.indexOf(turn);
    const empty = step.calls.findIndex((_, at) => !(step.results[at] ?? "").trim());
    if (empty >= 0) {
      showProblem("Fill in the result of each tool call first.");
      return;
    }
    showProblem("");
    forgetAfter(turnAt);
    const steps = turn.replies[column];
    steps.splice(steps.indexOf(step) + 1);
    if (column >= settings.models.length) settings.models[column] = step.model;
    redraw(turnAt);
    answer(turnAt, column, settings);
    // The button that was pressed is gone.
    prompt.focus({ preventScroll: true });
  }

  function forgetAfter(turnAt) {
    for (const turn of turns.slice(turnAt + 1)) {
      for (const step of turn.replies.flat()) running.get(step)?.abort();
    }
    turns = turns.slice(0, turnAt + 1);
    while (turnList.children.length > turns.length) turnList.lastElementChild.remove();
  }

  // --- what is shown ---

  function showRunning() {
    stop.disabled = running.size === 0;
    emptyHint.hidden = turns.length > 0;
  }

  // How far the conversation reaches below the top of the prompt, which stays at the bottom of the window.
  const endOfTurns = () => (turnList.lastElementChild ?? turnList).getBoundingClientRect().bottom - prompt.closest(".pg-prompt").getBoundingClientRect().top;

  // The end of the conversation stays in view while it grows, unless the reader has scrolled away.
  function keepInView(change) {
    const before = endOfTurns();
    change();
    const after = endOfTurns();
    if (after > before && before > -NEAR && before < NEAR) window.scrollBy(0, after - before);
  }

  function showUser(turn) {
    const text = element("p", "pg-text", turn.text);
    const images = element("div", "pg-images", ...turn.images.map(({ url, name }) => PlaygroundImages.preview(url, name)));
    const actions = element("div", "pg-actions");
    const box = element("div", "pg-user", element("h2", "pg-model", "You"), text, images, actions);
    if (mayChange) actions.append(button("Edit", "quiet", () => editUser(turn, box, text, actions)));
    return box;
  }

  function editUser(turn, box, text, actions) {
    const field = element("textarea");
    field.value = turn.text;
    field.rows = Math.min(12, turn.text.split("\n").length + 1);
    field.setAttribute("aria-label", "Your message");
    const again = () => {
      const settings = settingsOrProblem();
      if (!settings) return;
      const turnAt = turns.indexOf(turn);
      forgetAfter(turnAt);
      for (const step of turn.replies.flat()) running.get(step)?.abort();
      turn.text = field.value;
      turn.replies = [];
      redraw(turnAt);
      runAll(turnAt, settings);
      prompt.focus();
    };
    const cancel = () => { editor.replaceWith(text); actions.hidden = false; actions.querySelector("button").focus(); };
    field.addEventListener("keydown", (event) => {
      if (isSendKey(event)) { event.preventDefault(); event.stopPropagation(); again(); }
      if (event.key === "Escape") { event.stopPropagation(); cancel(); }
    });
    const editor = element("div", "", field, element("div", "form-end", button("Send again", "primary", again), button("Cancel", "quiet", cancel)));
    actions.hidden = true;
    text.replaceWith(editor);
    field.focus();
  }

  function columnOf(turn, column) {
    const grid = turnList.children[turns.indexOf(turn)].querySelector(".pg-columns");
    while (grid.children.length <= column) grid.append(element("div", "pg-column"));
    return grid.children[column];
  }

  function showStep(turn, column, step) {
    const view = new PlaygroundAnswer.AnswerView(step, form, {
      retry: () => retry(turn, column, step),
      answerTools: () => answerTools(turn, column, step),
      edit: () => { save(); showCode(); },
      keepInView,
    });
    columnOf(turn, column).append(view.element);
    return view;
  }

  function showTurn(turnAt) {
    const turn = turns[turnAt];
    const item = element("li", "pg-turn", showUser(turn), element("div", "pg-columns"));
    const old = turnList.children[turnAt];
    if (old) old.replaceWith(item); else turnList.append(item);
    for (const [column, steps] of turn.replies.entries()) for (const step of steps ?? []) showStep(turn, column, step);
    showRunning();
  }

  function redraw(turnAt) {
    showTurn(turnAt);
    save();
  }

  // --- models side by side ---

  function addModel(name) {
    const first = modelFields()[0];
    const field = first.cloneNode();
    const number = modelFields().length + 1;
    field.id = `pg-model-${Date.now()}-${number}`;
    field.value = name;
    field.removeAttribute("aria-describedby");
    const label = element("label", "", `Model ${number}`);
    label.htmlFor = field.id;
    const box = element("div", "field pg-more-model", label, element("div", "pg-with-button", field));
    field.after(button("Remove", "quiet", () => {
      const column = modelFields().indexOf(field);
      box.remove();
      for (const turn of turns) turn.replies.splice(column, 1);
      turns.forEach((_, at) => showTurn(at));
      changed();
      place("pg-compare").focus();
    }));
    modelFields().at(-1).closest(".field").after(box);
    place("pg-compare").disabled = modelFields().length >= MOST_MODELS;
    return field;
  }

  function changed() {
    place("pg-compare").disabled = modelFields().length >= MOST_MODELS;
    for (const [at, field] of modelFields().entries()) {
      field.closest(".field").querySelector("label").textContent = at || modelFields().length > 1 ? `Model ${at + 1}` : "Model";
    }
    save();
    showCode();
  }

  // --- code ---

  function showCode() {
    const panel = place("pg-code");
    if (!panel.open) return;
    const settings = PlaygroundRequest.read(form, { quiet: true });
    const choice = place("pg-code-model");
    const chosen = Math.min(Math.max(choice.selectedIndex, 0), settings.models.length - 1);
    choice.replaceChildren(...settings.models.map((model) => element("option", "", model)));
    choice.selectedIndex = chosen;
    const isNew = prompt.value.trim() || images.images.length || !turns.length;
    const messages = isNew
      ? [...messagesFor(turns, chosen, turns.length - 1, Infinity), userMessage({ text: prompt.value, images: images.images })]
      : messagesFor(turns, chosen, turns.length - 1, 0);
    const base = `${window.location.origin}${form.dataset.root}/v1`;
    const body = PlaygroundRequest.body(settings, settings.models[chosen], messages);
    const samples = PlaygroundCode.samples(base, body, PlaygroundRequest.headers(settings));
    place("pg-samples").replaceChildren(...samples.map(({ label, text }) => {
      const { box, code, copy } = PlaygroundText.codeBox(label);
      code.textContent = PlaygroundCode.shown(text);
      copy.addEventListener("click", async () => {
        await navigator.clipboard.writeText(text);
        copy.textContent = "Copied";
      });
      return box;
    }));
  }

  // --- a reload keeps the conversation, in this tab alone ---

  function save() {
    const fields = Object.fromEntries([...new FormData(form)].filter(([name, value]) => name !== "model" && typeof value === "string"));
    const kept = { fields, models: modelFields().map((field) => field.value), stream: place("pg-stream").checked, turns };
    try {
      sessionStorage.setItem(MEMORY, JSON.stringify(kept));
    } catch {
      // Too large, with many images: then a reload begins anew.
      sessionStorage.removeItem(MEMORY);
    }
  }

  function restore() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(MEMORY));
    } catch {
      // As if there were none.
    }
    if (!kept || place("pg-single") || window.location.search) return;
    for (const [name, value] of Object.entries(kept.fields)) {
      const field = form.elements[name];
      if (!field || (field.tagName === "SELECT" && ![...field.options].some((option) => option.value === value))) continue;
      field.value = value;
      if (value && field.closest("details")) field.closest("details").open = true;
    }
    place("pg-stream").checked = kept.stream;
    const [first, ...others] = kept.models;
    if (first) modelFields()[0].value = first;
    for (const name of others.slice(0, MOST_MODELS - 1)) addModel(name);
    turns = kept.turns;
    for (const step of turns.flatMap((turn) => turn.replies.flat())) {
      if (step && !step.ended) Object.assign(step, { ended: true, stopped: true });
    }
    turns.forEach((_, at) => showTurn(at));
  }

  // --- events ---

  const isSendKey = (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey);

  for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
  const images = new PlaygroundImages.ImagePicker({
    list: place("pg-images"), picker: place("pg-files"), prompt, onProblem: showProblem, onChange: showCode,
  });
  restore();
  changed();
  showRunning();
  if (!mayChange) place("pg-compare").disabled = true;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!mayChange || running.size) return;
    if (!sendTurn(prompt.value, [...images.images])) return;
    prompt.value = "";
    images.take();
    prompt.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && running.size) { event.preventDefault(); stopAll(); prompt.focus(); }
  });
  form.addEventListener("keydown", (event) => {
    if (isSendKey(event)) { event.preventDefault(); form.requestSubmit(); }
    // Enter in a field of the settings is not meant to send the message.
    else if (event.key === "Enter" && event.target.tagName === "INPUT") event.preventDefault();
  });
  stop.addEventListener("click", () => { stopAll(); prompt.focus(); });
  place("pg-clear").addEventListener("click", () => {
    stopAll();
    turns = [];
    turnList.replaceChildren();
    showRunning();
    changed();
    prompt.focus();
  });
  place("pg-compare").addEventListener("click", () => { addModel("").focus(); changed(); });
  place("pg-code").addEventListener("toggle", showCode);
  place("pg-code-model").addEventListener("change", showCode);
  let wait = null;
  form.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => { save(); showCode(); }, 200);
  });
  window.addEventListener("pagehide", save);
})();
