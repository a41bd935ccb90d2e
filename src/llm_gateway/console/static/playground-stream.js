// Sends a chat and follows its answer, which comes as a stream or as a whole.
"use strict";

const PlaygroundStream = (() => {
  const BROKEN = "The connection to the gateway broke before the answer was complete. Retry it; if it breaks again, look at the gateway's log.";

  // Seconds of a stream whose speed means anything.
  const SHORTEST = 0.02;

  class ChatError extends Error {
    constructor(message, status, code) {
      super(message);
      this.status = status;
      this.code = code ?? null;
    }
  }

  // Yields the data of each server-sent event.
  async function* eventsOf(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let data = [];
    for (;;) {
      const { done, value } = await reader.read();
      rest += value ?? "";
      // A carriage return at the end may be half of a line's end.
      const whole = done || !rest.endsWith("\r") ? rest.length : rest.length - 1;
      const lines = rest.slice(0, whole).split(/\r\n|\n|\r/);
      rest = lines.pop() + rest.slice(whole);
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
        }
      }
      if (done) return;
    }
  }

  const text = (value) => (typeof value === "string" ? value : "");

  function takeCalls(step, calls) {
    for (const [place, call] of (calls ?? []).entries()) {
      const at = call.index ?? place;
      const known = step.calls[at] ??= { id: "", name: "", arguments: "" };
      known.id = call.id || known.id;
      known.name += text(call.function?.name);
      known.arguments += text(call.function?.arguments);
    }
  }

  // Adds a chunk, or a whole reply, to the answer; returns the new text.
  function take(step, reply) {
    if (reply.error) throw new ChatError(text(reply.error.message) || "The provider reported an error.", null, reply.error.code);
    if (reply.usage) step.usage = reply.usage;
    if (reply.model) step.answeredBy = reply.model;
    const choice = reply.choices?.[0];
    if (!choice) return "";
    const message = choice.delta ?? choice.message ?? {};
    const added = text(message.content) + text(message.refusal);
    step.content += added;
    step.reasoning += text(message.reasoning_content) || text(message.reasoning);
    takeCalls(step, message.tool_calls);
    if (choice.finish_reason) step.finish = choice.finish_reason;
    return added;
  }

  async function errorOf(response) {
    let error = null;
    try {
      error = (await response.json()).error;
    } catch {
      // Not JSON: a proxy in front of the gateway may have answered.
    }
    const message = text(error?.message) || `The answer was ${response.status} ${response.statusText}, without a reason.`;
    return new ChatError(message, response.status, error?.code);
  }

  async function follow(step, response, onChange) {
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      take(step, await response.json());
      onChange(step.content);
      return;
    }
    let isDone = false;
    for await (const data of eventsOf(response.body)) {
      if (data === "[DONE]") { isDone = true; continue; }
      const added = take(step, JSON.parse(data));
      if (step.firstAt === null && (step.content || step.reasoning || step.calls.length)) step.firstAt = performance.now();
      onChange(added);
    }
    if (!isDone) throw new ChatError(BROKEN, null, "incomplete_stream");
  }

  // Runs one request and fills `step` with its answer, its numbers, and what went wrong. Never throws.
  async function run(step, { url, body, headers, signal, onChange }) {
    const begunAt = performance.now();
    step.firstAt = null;
    try {
      const response = await fetch(url, {
        method: "POST", signal, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body),
      });
      step.requestId = response.headers.get("x-request-id");
      step.cache = response.headers.get("x-llm-gateway-cache");
      step.cost = response.headers.get("x-llm-gateway-cost-usd");
      step.ignored = response.headers.get("x-llm-gateway-ignored");
      if (!response.ok) throw await errorOf(response);
      await follow(step, response, onChange);
    } catch (error) {
      if (error.name === "AbortError") step.stopped = true;
      else if (error instanceof ChatError) step.problem = { message: error.message, status: error.status, code: error.code };
      else if (step.requestId) step.problem = { message: BROKEN, status: null, code: "broken" };
      else step.problem = { message: "The gateway could not be reached. Check that it runs, and retry.", status: null, code: "unreachable" };
    }
    const endedAt = performance.now();
    step.seconds = (endedAt - begunAt) / 1000;
    step.firstSeconds = step.firstAt === null ? null : (step.firstAt - begunAt) / 1000;
    step.speed = speedOf(step, endedAt);
    step.calls = step.calls.filter(Boolean);
    if (step.usage && step.cost === null && "cost_usd" in step.usage) step.cost = step.usage.cost_usd;
    delete step.firstAt;
    step.ended = true;
  }

  // Tokens per second, from the first token to the end.
  function speedOf(step, endedAt) {
    const tokens = step.usage?.completion_tokens;
    const seconds = step.firstAt === null ? 0 : (endedAt - step.firstAt) / 1000;
    return tokens > 1 && seconds >= SHORTEST ? (tokens - 1) / seconds : null;
  }

  function newStep(model) {
    return {
      model, content: "", reasoning: "", calls: [], results: {}, usage: null, finish: null, answeredBy: null, problem: null,
      stopped: false, ended: false, requestId: null, cache: null, cost: null, ignored: null, seconds: null,
      firstSeconds: null, speed: null, json: null,
    };
  }

  return { run, newStep, eventsOf };
})();
