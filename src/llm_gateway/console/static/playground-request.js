// Reads the form, and makes the body of a request; playground_form.py makes the same one.
"use strict";

const PlaygroundRequest = (() => {
  const PLAIN = ["temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "reasoning_effort", "tools", "tool_choice"];
  const NUMBERS = new Set(["temperature", "top_p", "max_tokens", "max_completion_tokens", "seed"]);
  const JSON_KINDS = { tools: "array", schema: "object", extra: "object" };

  function parsed(text, kind) {
    let value;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new Error(`must be JSON: ${error.message}`);
    }
    const isRight = kind === "array" ? Array.isArray(value) : value !== null && typeof value === "object" && !Array.isArray(value);
    if (!isRight) throw new Error(`must be a JSON ${kind}`);
    return value;
  }

  function valueOf(name, text) {
    if (!text.trim()) return null;
    if (NUMBERS.has(name)) {
      const number = Number(text);
      if (!Number.isFinite(number)) throw new Error("must be a number");
      return number;
    }
    if (name in JSON_KINDS) return parsed(text, JSON_KINDS[name]);
    if (name === "stop") return text.split("\n").map((line) => line.trim()).filter(Boolean);
    return text.trim();
  }

  function showProblem(field, message) {
    const place = field.closest(".field");
    if (!place) return;
    place.querySelector(".error")?.remove();
    place.classList.toggle("wrong", Boolean(message));
    field.toggleAttribute("aria-invalid", Boolean(message));
    if (!message) return;
    const line = document.createElement("p");
    line.className = "error";
    line.id = `${field.id}-error`;
    line.textContent = message;
    place.append(line);
    field.setAttribute("aria-invalid", "true");
    const described = (field.getAttribute("aria-describedby") ?? "").split(" ").filter((id) => id && id !== line.id);
    field.setAttribute("aria-describedby", [...described, line.id].join(" "));
    const group = field.closest("details");
    if (group) group.open = true;
  }

  // Returns the settings; `problem` is the first field that is wrong, each of which says why.
  function read(form, { quiet = false } = {}) {
    const values = {};
    let problem = null;
    const check = (field, work) => {
      let message = null;
      try {
        work();
      } catch (error) {
        message = error.message;
        problem ??= field;
      }
      if (!quiet) showProblem(field, message);
    };
    for (const name of [...PLAIN, "response_format", "schema", "cache", "extra"]) {
      const field = form.elements[name];
      check(field, () => { values[name] = valueOf(name, field.value); });
    }
    if (values.response_format === "json_schema" && values.schema === null) {
      check(form.elements.schema, () => { throw new Error("Enter the schema, or choose another format."); });
    }
    const models = [...form.querySelectorAll("[name=model]")];
    for (const field of models) {
      check(field, () => { if (!field.value.trim()) throw new Error("Enter the model to ask."); });
    }
    return {
      problem,
      values,
      credential: form.elements.credential.value,
      system: form.elements.system.value.trim(),
      models: models.map((field) => field.value.trim()),
      stream: form.querySelector("#pg-stream").checked,
    };
  }

  function named(schema) {
    if (schema.schema && typeof schema.schema === "object" && typeof schema.name === "string") return schema;
    const name = String(schema.title ?? "").replace(/[^\p{L}\p{N}]/gu, "_").slice(0, 200);
    return { name: /^[\x20-\x7e]+$/.test(name) ? name : "answer", schema };
  }

  function body(settings, model, messages) {
    const { values } = settings;
    const made = { model, messages };
    if (settings.system) made.messages = [{ role: "system", content: settings.system }, ...messages];
    for (const name of PLAIN) if (values[name] !== null && values[name] !== undefined) made[name] = values[name];
    if (values.response_format) {
      made.response_format = { type: values.response_format };
      if (values.response_format === "json_schema") made.response_format.json_schema = named(values.schema ?? {});
    }
    if (settings.stream) {
      made.stream = true;
      made.stream_options = { include_usage: true };
    }
    return { ...made, ...(values.extra ?? {}) };
  }

  function headers(settings) {
    const made = { "x-llm-gateway-cost": "on" };
    if (settings.values.cache) made["x-llm-gateway-cache"] = settings.values.cache;
    return made;
  }

  const url = (form, settings) => `${form.dataset.path}/credentials/${settings.credential}/chat/completions`;

  return { read, body, headers, url, wantsJson: (settings) => Boolean(settings.values.response_format) };
})();
