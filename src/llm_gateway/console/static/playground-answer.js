// Shows one answer: its text, reasoning, tool calls and numbers, and who gave it.
"use strict";

const PlaygroundAnswer = (() => {
  const { element, button, codeBox, TextView } = PlaygroundText;
  const FACTS_TRIES = 4;
  const FACTS_PAUSE = 400;

  const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(2)} s`);
  const count = (value) => value.toLocaleString("en");

  function pretty(text) {
    try {
      return JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      return text;
    }
  }

  function numbersOf(step) {
    const { usage } = step;
    const shown = [];
    if (usage) {
      const cached = usage.prompt_tokens_details?.cached_tokens;
      const reasoning = usage.completion_tokens_details?.reasoning_tokens;
      const details = [cached ? `${count(cached)} cached` : "", reasoning ? `${count(reasoning)} reasoning` : ""].filter(Boolean).join(", ");
      shown.push(["Tokens", `${count(usage.prompt_tokens ?? 0)} + ${count(usage.completion_tokens ?? 0)}${details ? ` (${details})` : ""}`]);
    }
    if (step.ended && !step.problem && !step.stopped) shown.push(["Cost", step.cost === null ? "not known" : `$${step.cost}`]);
    if (step.firstSeconds !== null) shown.push(["First token", seconds(step.firstSeconds)]);
    if (step.seconds !== null) shown.push(["Time", seconds(step.seconds)]);
    if (step.speed !== null) shown.push(["Speed", `${step.speed.toFixed(step.speed < 10 ? 1 : 0)} tokens/s`]);
    if (step.finish) shown.push(["Finish", step.finish]);
    if (step.stopped) shown.push(["Finish", "stopped by you"]);
    if (step.cache) shown.push(["Cache", step.cache]);
    if (step.ignored) shown.push(["Ignored", step.ignored]);
    if (step.json !== null) shown.push(["Format", step.json ? "valid JSON" : "not JSON"]);
    return shown;
  }

  // Where to change what made the gateway refuse.
  function remedyOf(problem, form) {
    const { signIn, credentialPath, budgetsPath, providersPath } = form.dataset;
    const credential = `${credentialPath}/${form.elements.credential.value}`;
    if (problem.code === "signed_out") return ["Sign in again", signIn];
    if (problem.code === "insufficient_quota" || problem.status === 402) return ["Budgets", budgetsPath];
    if (problem.status === 429 || problem.status === 403) return ["The credential and its limits", credential];
    if (problem.status === 404 || problem.status === 502 || problem.status === 503 || problem.status === 504) return ["Providers", providersPath];
    return null;
  }

  class AnswerView {
    // `act` has what the buttons do: retry(), edit(), answerTools(); and keepInView(change), around what makes it grow.
    constructor(step, form, act) {
      this.step = step;
      this.form = form;
      this.act = act;
      this.title = element("h2", "pg-model", step.model);
      this.reasoningText = element("p", "pg-text");
      this.reasoning = element("details", "pg-reasoning", element("summary", "", "Reasoning"), this.reasoningText);
      this.body = element("div", "pg-body");
      this.text = new TextView(this.body);
      this.tools = element("div", "pg-calls");
      this.problem = element("div", "pg-problem");
      this.numbers = element("dl", "pg-numbers");
      this.facts = element("div", "pg-about");
      this.actions = element("div", "pg-actions");
      this.element = element("article", "pg-answer", this.title, this.reasoning, this.body, this.tools, this.problem, this.numbers, this.facts, this.actions);
      this.element.setAttribute("aria-label", `Answer of ${step.model}`);
      if (step.content) this.text.show(step.content);
      if (step.ended) this.finish(); else this.begin();
    }

    begin() {
      this.reasoning.hidden = true;
      this.element.setAttribute("aria-busy", "true");
      this.numbers.replaceChildren(element("div", "", element("dt", "", "Waiting"), element("dd", "", "…")));
    }

    // Takes new text; the reasoning and the arguments of calls are shown as they grow.
    change(added) {
      if (added) this.text.add(added);
      this.showReasoning();
    }

    showReasoning() {
      const { reasoning } = this.step;
      this.reasoning.hidden = !reasoning;
      const node = this.reasoningText.firstChild;
      if (!node) this.reasoningText.append(document.createTextNode(reasoning));
      else if (reasoning.length > node.length) node.appendData(reasoning.slice(node.length));
    }

    finish() {
      const { step } = this;
      this.element.removeAttribute("aria-busy");
      this.text.end();
      this.showReasoning();
      this.showTools();
      this.showProblem();
      this.numbers.replaceChildren(...numbersOf(step).map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))));
      this.actions.replaceChildren(button("Retry", "quiet", () => this.act.retry()));
      if (step.content) this.actions.append(button("Edit", "quiet", () => this.edit()));
      if (step.requestId) this.loadFacts();
    }

    showTools() {
      this.tools.replaceChildren();
      for (const [at, call] of PlaygroundConversation.callsOf(this.step).entries()) {
        const { box, code } = codeBox(`Calls ${call.name}`);
        code.textContent = pretty(call.arguments);
        const field = element("textarea");
        field.rows = 2;
        field.spellcheck = false;
        field.id = `pg-call-${call.id || at}-${Math.random().toString(36).slice(2)}`;
        field.value = this.step.results[at] ?? "";
        field.addEventListener("input", () => { this.step.results[at] = field.value; });
        const label = element("label", "", `Result of ${call.name}`);
        label.htmlFor = field.id;
        this.tools.append(box, element("div", "field", label, field));
      }
      if (PlaygroundConversation.callsOf(this.step).length) this.tools.append(button("Send results", "", () => this.act.answerTools()));
    }

    showProblem() {
      const { problem } = this.step;
      this.problem.replaceChildren();
      if (!problem) return;
      const about = [problem.status, problem.code].filter(Boolean).join(" ");
      const line = element("p", "", problem.message, about ? ` (${about})` : "");
      const box = element("div", "notice bad", line);
      const remedy = remedyOf(problem, this.form);
      if (remedy) {
        const link = element("a", "", remedy[0]);
        link.href = remedy[1];
        line.append(" ", link);
      }
      this.problem.append(box);
    }

    edit() {
      const field = element("textarea");
      field.value = this.step.content;
      field.rows = Math.min(12, this.step.content.split("\n").length + 1);
      field.setAttribute("aria-label", `Answer of ${this.step.model}`);
      const close = () => {
        this.text.show(this.step.content);
        this.actions.hidden = false;
        this.actions.lastElementChild.focus();
      };
      field.addEventListener("keydown", (event) => {
        if (event.key === "Escape") { event.stopPropagation(); close(); }
      });
      const save = button("Save", "primary", () => {
        this.step.content = field.value;
        close();
        this.act.edit();
      });
      this.actions.hidden = true;
      this.body.replaceChildren(field, element("div", "form-end", save, button("Cancel", "quiet", close)));
      field.focus();
    }

    // Who answered and why is known once the usage row is stored.
    async loadFacts() {
      const { requestId, model } = this.step;
      const address = `${this.form.dataset.path}/requests/${encodeURIComponent(requestId)}?model=${encodeURIComponent(model)}`;
      for (let tried = 0; tried < FACTS_TRIES; tried += 1) {
        let response = null;
        try {
          response = await fetch(address);
        } catch {
          return;
        }
        if (response.status === 200) {
          // The gateway's own template, in which all values are escaped.
          const holder = document.createElement("template");
          holder.innerHTML = await response.text();
          this.act.keepInView(() => this.facts.replaceChildren(holder.content));
          return;
        }
        if (response.status !== 202) return;
        await new Promise((resolve) => { setTimeout(resolve, FACTS_PAUSE * 2 ** tried); });
      }
    }
  }

  return { AnswerView };
})();
