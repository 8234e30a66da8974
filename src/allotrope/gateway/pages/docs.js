// Reads the OpenAPI document, lists its operations and sends requests. It asks no other host for anything.
"use strict";

const at = (id) => document.getElementById(id);
const key = at("key");
let described = null;

function made(tag, text, name) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (name) element.className = name;
  return element;
}

function headers(more) {
  return key.value ? { authorization: `Bearer ${key.value}`, ...more } : { ...more };
}

// A schema with its references in place, and an example that fits it.
function resolved(schema) {
  return schema && schema.$ref ? described.components.schemas[schema.$ref.split("/").pop()] : schema || {};
}

function example(schema, depth = 0) {
  const found = resolved(schema);
  if ("default" in found) return found.default;
  if ("const" in found) return found.const;
  if (found.enum) return found.enum[0];
  const choice = (found.anyOf || found.oneOf || [])[0];
  if (choice) return depth > 6 ? null : example(choice, depth + 1);
  const forms = { "date-time": "2026-01-01T00:00:00Z", date: "2026-01-01", decimal: "1.00",
    uuid: "00000000-0000-4000-8000-000000000000" };
  switch (Array.isArray(found.type) ? found.type[0] : found.type) {
    case "object":
      return depth > 6 ? {} : Object.fromEntries(
        Object.entries(found.properties || {}).map(([name, part]) => [name, example(part, depth + 1)]));
    case "array": {
      const parts = found.prefixItems || (found.items ? [found.items] : []);
      return depth > 6 ? [] : parts.map((part) => example(part, depth + 1));
    }
    case "integer": return Math.max(0, found.minimum || 0);
    case "number": return 0.0;
    case "boolean": return false;
    case "string": return forms[found.format] || "text";
    default: return null;
  }
}

function typed(schema, depth = 0, seen = []) {
  if (!schema) return "any";
  const name = schema.$ref && schema.$ref.split("/").pop();
  if (name && seen.includes(name)) return name;
  const found = resolved(schema);
  const inside = name ? [...seen, name] : seen;
  const part = (one, deeper = 0) => typed(one, depth + deeper, inside);
  const choices = found.anyOf || found.oneOf;
  if (choices) return choices.map((one) => part(one)).join(" | ");
  if (found.allOf) return found.allOf.map((one) => part(one)).join(" & ");
  if ("const" in found) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (found.type === "array") {
    return found.prefixItems ? `[${found.prefixItems.map((one) => part(one)).join(", ")}]` : `${part(found.items)}[]`;
  }
  if (found.type === "object") {
    const wanted = found.required || [];
    const pad = "  ".repeat(depth + 1);
    const rows = Object.entries(found.properties || {}).map(
      ([field, one]) => `${pad}${field}${wanted.includes(field) ? "" : "?"}: ${part(one, 1)}`);
    if (typeof found.additionalProperties === "object") rows.push(`${pad}[name]: ${part(found.additionalProperties, 1)}`);
    return rows.length ? `{\n${rows.join("\n")}\n${"  ".repeat(depth)}}` : "object";
  }
  const form = found.format || found.contentEncoding;
  return form ? `${found.type} (${form})` : `${found.type || "any"}`;
}

async function send(path, body, out) {
  out.replaceChildren();
  const status = out.appendChild(made("p", "..."));
  const begun = performance.now();
  try {
    const answer = await fetch(path, { method: "POST", headers: headers({ "content-type": "application/json" }), body });
    status.textContent = `${answer.status} in ${Math.round(performance.now() - begun)} ms, request ${answer.headers.get("x-request-id")}`;
    status.className = answer.ok ? "good" : "bad";
    const shown = out.appendChild(made("pre"));
    if ((answer.headers.get("content-type") || "").startsWith("text/event-stream")) {
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let part = await reader.read(); !part.done; part = await reader.read()) shown.append(part.value);
    } else {
      const text = await answer.text();
      try { shown.textContent = JSON.stringify(JSON.parse(text), null, 2); } catch { shown.textContent = text; }
    }
  } catch (error) {
    status.textContent = String(error);
    status.className = "bad";
  }
}

function shown(path, methods) {
  const asked = methods.post || methods.get;
  const box = made("details");
  box.dataset.words = `${path} ${asked.operationId} ${asked.description}`.toLowerCase();
  const head = box.appendChild(made("summary"));
  head.append(made("b", Object.keys(methods).join(" ").toUpperCase()), made("code", path), made("span", asked.summary || ""));
  box.addEventListener("toggle", () => fill(box, path, methods), { once: true });
  return box;
}

function fill(box, path, methods) {
  const asked = methods.post || methods.get;
  const inside = box.appendChild(made("div"));
  if (asked.description) inside.append(made("p", asked.description));
  const schema = methods.post && methods.post.requestBody.content["application/json"].schema;
  if (schema) {
    const text = made("textarea");
    text.value = JSON.stringify(example(schema), null, 2);
    text.setAttribute("aria-label", `body for ${path}`);
    const button = made("button", "Send");
    const out = made("div");
    button.addEventListener("click", async () => {
      button.disabled = true;
      await send(path, text.value, out);
      button.disabled = false;
    });
    const row = made("div", undefined, "row");
    row.append(button);
    inside.append(made("h3", "Try it"), text, row, out, made("h3", "Takes"), made("pre", typed(schema)));
  }
  for (const [code, answer] of Object.entries(asked.responses)) {
    if (answer.$ref || !answer.content) continue;
    const [media, content] = Object.entries(answer.content)[0];
    inside.append(made("h3", `${code} ${answer.description} (${media})`), made("pre", typed(content["x-event-data"] || content.schema)));
  }
}

async function load() {
  const answer = await fetch("/openapi.json", { headers: headers() });
  if (!answer.ok) {
    at("note").textContent = answer.status === 401 ? "Enter a key to see the operations." : `${answer.status}: ${await answer.text()}`;
    return;
  }
  described = await answer.json();
  at("note").textContent = "";
  at("title").textContent = document.title = described.info.title;
  at("about").textContent = described.info.description;
  const groups = new Map();
  for (const [path, methods] of Object.entries(described.paths)) {
    const [tag] = (methods.post || methods.get).tags;
    if (!groups.has(tag)) groups.set(tag, []);
    groups.get(tag).push(shown(path, methods));
  }
  const all = [];
  for (const [tag, boxes] of groups) {
    const section = made("section");
    section.append(made("h2", tag), ...boxes);
    all.push(section);
  }
  at("operations").replaceChildren(...all);
}

function sift() {
  const word = at("find").value.toLowerCase();
  for (const box of document.querySelectorAll("details")) box.hidden = !box.dataset.words.includes(word);
  for (const part of document.querySelectorAll("section")) part.hidden = !part.querySelector("details:not([hidden])");
}

key.addEventListener("change", load);
at("find").addEventListener("input", sift);
at("entry").addEventListener("submit", (event) => { event.preventDefault(); load(); });
load();
