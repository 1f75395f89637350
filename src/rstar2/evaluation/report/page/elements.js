"use strict";
// Elements from data. Text enters the document as text nodes only, never as markup: most of it was written
// by a model.

const at = (id) => document.getElementById(id);

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const scrolling = (label, ...children) =>
  el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, ...children);
const note = (text) => el("p", { class: "note" }, text);

// Show `entries`, each [key, content, build], as the children of a node. What has not changed stays as it is,
// with its focus and its scrolled place: a live page draws itself again and again. What is built anew takes the
// focus over.
function show(parent, entries) {
  const old = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  const nodes = entries.map(([key, content, build]) => {
    const signature = JSON.stringify(content),
      known = old.get(key);
    if (known && known.signature === signature) return known;
    const node = build(content);
    node.dataset.key = key;
    node.signature = signature;
    if (known?.contains(document.activeElement)) {
      const place = focusable(known).indexOf(document.activeElement);
      queueMicrotask(() => focusOn(focusable(node), place));
    }
    return node;
  });
  const shown = new Set(nodes);
  for (const node of [...parent.children]) if (!shown.has(node)) node.remove();
  // One by one: a node that is taken out and put back loses its focus.
  nodes.forEach((node, n) => {
    if (parent.children[n] !== node) parent.insertBefore(node, parent.children[n] ?? null);
  });
}

const focusable = (node) =>
  [node, ...node.querySelectorAll("*")].filter((inner) =>
    inner.matches("a[href], button, input, select, summary, [tabindex]"),
  );

function focusOn(nodes, place) {
  const wanted = nodes[place]?.disabled ? undefined : nodes[place];
  (wanted ?? nodes.find((node) => !node.disabled))?.focus();
}

// A labelled choice. `options` maps what is shown to what it means; `value` is the meaning of the present one.
function choose(label, options, value, onChange) {
  const names = Object.keys(options);
  const select = el("select", {}, ...names.map((name) => el("option", {}, name)));
  select.value = names.find((name) => options[name] === value) ?? names[0];
  select.addEventListener("change", () => onChange(options[select.value]));
  return el("label", {}, label, select);
}
