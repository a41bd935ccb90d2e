// Writes a request as code: for curl, and for OpenAI's SDKs.
"use strict";

const PlaygroundCode = (() => {
  // What OpenAI's Python SDK takes by name; all else goes into extra_body.
  const NAMED = new Set(("model messages stream stream_options temperature top_p max_tokens max_completion_tokens seed stop "
    + "reasoning_effort tools tool_choice response_format n presence_penalty frequency_penalty logit_bias logprobs top_logprobs "
    + "user parallel_tool_calls store metadata service_tier modalities audio prediction verbosity prompt_cache_key "
    + "safety_identifier web_search_options").split(" "));
  const KEY = "YOUR_KEY";

  // In single quotes of a shell.
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  function curl(base, body, headers) {
    const lines = [`curl -N ${quoted(`${base}/chat/completions`)}`, `  -H 'Authorization: Bearer ${KEY}'`, "  -H 'Content-Type: application/json'"];
    for (const [name, value] of Object.entries(headers)) lines.push(`  -H ${quoted(`${name}: ${value}`)}`);
    lines.push(`  -d ${quoted(JSON.stringify(body, null, 2))}`);
    return lines.join(" \\\n");
  }

  // JSON's texts and numbers are Python's as well.
  function literal(value, indent) {
    const inner = `${indent}    `;
    if (value === null) return "None";
    if (value === true) return "True";
    if (value === false) return "False";
    if (Array.isArray(value)) {
      if (!value.length) return "[]";
      return `[\n${value.map((one) => `${inner}${literal(one, inner)},\n`).join("")}${indent}]`;
    }
    if (typeof value === "object") {
      const entries = Object.entries(value);
      if (!entries.length) return "{}";
      return `{\n${entries.map(([name, one]) => `${inner}${JSON.stringify(name)}: ${literal(one, inner)},\n`).join("")}${indent}}`;
    }
    return JSON.stringify(value);
  }

  function python(base, body, headers) {
    const lines = ["from openai import OpenAI", "", `client = OpenAI(base_url=${JSON.stringify(base)}, api_key="${KEY}")`, ""];
    const arguments_ = Object.entries(body).filter(([name]) => NAMED.has(name)).map(([name, value]) => `    ${name}=${literal(value, "    ")},`);
    const others = Object.fromEntries(Object.entries(body).filter(([name]) => !NAMED.has(name)));
    arguments_.push(`    extra_headers=${literal(headers, "    ")},`);
    if (Object.keys(others).length) arguments_.push(`    extra_body=${literal(others, "    ")},`);
    if (body.stream) {
      lines.push("stream = client.chat.completions.create(", ...arguments_, ")", "for chunk in stream:",
        "    if chunk.choices and chunk.choices[0].delta.content:", "        print(chunk.choices[0].delta.content, end=\"\", flush=True)");
    } else {
      lines.push("reply = client.chat.completions.create(", ...arguments_, ")", "print(reply.choices[0].message)");
    }
    return lines.join("\n");
  }

  function javascript(base, body, headers) {
    const lines = ["import OpenAI from \"openai\";", "", `const client = new OpenAI({ baseURL: ${JSON.stringify(base)}, apiKey: "${KEY}" });`, ""];
    const call = `client.chat.completions.create(${JSON.stringify(body, null, 2)}, { headers: ${JSON.stringify(headers)} });`;
    if (body.stream) {
      lines.push(`const stream = await ${call}`, "for await (const chunk of stream) {", "  process.stdout.write(chunk.choices[0]?.delta?.content ?? \"\");", "}");
    } else {
      lines.push(`const reply = await ${call}`, "console.log(reply.choices[0].message);");
    }
    return lines.join("\n");
  }

  function samples(base, body, headers) {
    return [
      { label: "curl", text: curl(base, body, headers) },
      { label: "Python", text: python(base, body, headers) },
      { label: "JavaScript", text: javascript(base, body, headers) },
    ];
  }

  // Images make thousands of lines: what is shown is cut, what is copied is not.
  const shown = (text) => text.replace(/(data:image\/[a-z]+;base64,[A-Za-z0-9+/]{40})[A-Za-z0-9+/=]+/g, "$1…");

  return { samples, shown };
})();
