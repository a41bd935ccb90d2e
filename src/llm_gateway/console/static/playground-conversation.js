// Makes the messages of a request from the conversation.
// A turn: { text, images, replies }. `replies` has the steps of each model: an answer, and after the results of its tool
// calls the next one.
"use strict";

const PlaygroundConversation = (() => {
  // Calls that were cut off cannot be answered.
  const callsOf = (step) => (step.stopped || step.problem ? [] : step.calls);

  function userMessage(turn) {
    if (!turn.images.length) return { role: "user", content: turn.text };
    const parts = turn.text ? [{ type: "text", text: turn.text }] : [];
    return { role: "user", content: [...parts, ...turn.images.map(({ url }) => ({ type: "image_url", image_url: { url } }))] };
  }

  function stepMessages(step) {
    const calls = callsOf(step);
    if (!step.content && !calls.length) return [];
    const message = { role: "assistant", content: step.content || null };
    if (!calls.length) return [message];
    message.tool_calls = calls.map((call) => ({ id: call.id, type: "function", function: { name: call.name, arguments: call.arguments } }));
    return [message, ...calls.map((call, at) => ({ role: "tool", tool_call_id: call.id, content: step.results[at] ?? "" }))];
  }

  // Everything that was said to a model up to a turn and, in that turn, before its step.
  function messagesFor(turns, column, turnAt, stepAt) {
    const messages = [];
    for (const [at, turn] of turns.slice(0, turnAt + 1).entries()) {
      messages.push(userMessage(turn));
      const steps = turn.replies[column] ?? [];
      for (const step of at < turnAt ? steps : steps.slice(0, stepAt)) messages.push(...stepMessages(step));
    }
    return messages;
  }

  const hasOpenCalls = (steps) => Boolean(steps?.length && callsOf(steps.at(-1)).length);

  return { userMessage, messagesFor, hasOpenCalls, callsOf };
})();
