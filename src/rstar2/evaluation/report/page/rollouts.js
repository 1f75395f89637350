// The list of rollouts: filters, order, and links to each of them (#/PHASE/STEP/PROBLEM/INDEX~OCCASION).

const LONGEST_LIST = 500;
const outcomes = {
  all: () => true,
  right: (c) => c.is_right,
  wrong: (c) => !c.is_right,
  "with a tool error": (c) => c.num_errors > 0,
  "right after a tool error": (c) => c.is_right && c.num_errors > 0,
  "without a call": (c) => c.num_calls === 0,
  "cut off": (c) => c.ending === "token limit",
};
const fates = { all: () => true, kept: (c) => c.is_kept === true, dropped: (c) => c.is_kept === false };
const lengths = { all: null, "longest tenth": 0.9, "shortest tenth": -0.1 };
const orders = {
  "of the run": () => 0,
  "longest first": (a, b) => b.num_tokens - a.num_tokens,
  "shortest first": (a, b) => a.num_tokens - b.num_tokens,
  "most errors first": (a, b) => b.num_errors - a.num_errors,
};
const everything = {
  run: 0,
  phase: "all",
  step: "all",
  task: "all",
  outcome: outcomes.all,
  fate: fates.all,
  length: null,
  text: "",
};
const wanted = { ...everything, phase: null, order: orders["of the run"] }; // phase null: the last one
let found = [],
  current = null;

const linkTo = (number, c) => `#${number || ""}/${encodeURI(c.id)}`;
const conversationsOf = (run) =>
  Object.keys(run)
    .filter((name) => name.startsWith("rollouts/"))
    .flatMap((name) => run[name]);
const distinct = (values) => Object.fromEntries(["all", ...new Set(values)].map((value) => [value, value]));

function drawRollouts() {
  const run = runs[wanted.run],
    all = conversationsOf(run);
  const phases = distinct(all.map((c) => c.phase));
  const phase = phases[wanted.phase] ?? Object.keys(phases).at(-1);
  const ofPhase = all.filter((c) => phase === "all" || c.phase === phase);
  const steps = distinct(phase === "all" ? [] : ofPhase.map((c) => String(c.step))),
    step = steps[wanted.step] ?? "all";
  const tasks = distinct(all.map((c) => c.task)),
    task = tasks[wanted.task] ?? "all";
  const chooser = (label, key, options, value) => [
    label,
    [Object.keys(options), Object.values(options).indexOf(value)],
    () =>
      choose(label, options, value, (chosen) => {
        wanted[key] = chosen;
        drawRollouts();
      }),
  ];
  show(at("filters"), [
    ...(runs.length > 1 ? [["run", [runs.length, wanted.run], () => runChoice(wanted, drawRollouts)]] : []),
    chooser("phase", "phase", phases, phase),
    chooser("step", "step", steps, step),
    chooser("task", "task", tasks, task),
    chooser("outcome", "outcome", outcomes, wanted.outcome),
    chooser("RoC", "fate", fates, wanted.fate),
    chooser("length", "length", lengths, wanted.length),
    chooser("order", "order", orders, wanted.order),
    ["text", null, searchBox],
    ["entropy", null, entropyToggle],
  ]);
  const text = wanted.text.toLowerCase(),
    isOfLength = lengthFilter(ofPhase);
  found = ofPhase
    .filter(
      (c) =>
        (step === "all" || String(c.step) === step) &&
        (task === "all" || c.task === task) &&
        wanted.outcome(c) &&
        wanted.fate(c) &&
        isOfLength(c) &&
        (!text || says(c, text)),
    )
    .sort(wanted.order);
  drawList(all.length);
}

// Keeps what is as long as the longest tenth (or as short as the shortest) of these.
function lengthFilter(conversations) {
  if (wanted.length === null) return () => true;
  const sorted = conversations.map((c) => c.num_tokens).sort((a, b) => a - b);
  const bound = sorted[Math.round(Math.abs(wanted.length) * (sorted.length - 1))];
  return (c) => (wanted.length > 0 ? c.num_tokens >= bound : c.num_tokens <= bound);
}

const says = (c, text) =>
  [c.question, c.answer ?? "", ...c.parts.map((p) => p.text)].some((said) =>
    said.toLowerCase().includes(text),
  );

function searchBox() {
  const input = el("input", { type: "search", id: "search", placeholder: "words in it" });
  input.addEventListener("input", () => {
    wanted.text = input.value;
    drawRollouts();
  });
  return el("label", {}, "text", input);
}

const verdict = (c) =>
  el(
    "span",
    { class: `verdict ${c.is_right ? "right" : "wrong"}` },
    c.is_right ? "\u2713 right" : "\u2717 wrong",
  );
const fate = (c) => (c.is_kept === null ? [] : [c.is_kept ? "kept by RoC" : "dropped by RoC"]);
const about = (c) =>
  [
    plural(c.num_calls, "call"),
    plural(c.num_errors, "error"),
    plural(c.num_tokens, "token"),
    ...fate(c),
  ].join(" \u00b7 ");

function drawList(numAll) {
  const shown = found.slice(0, LONGEST_LIST),
    cut = shown.length < found.length ? `, the first ${shown.length} listed` : "";
  const keys = "Up and down: move through the list; e: colour by entropy; /: search.";
  at("found").textContent = `${plural(found.length, "rollout")} of ${numAll}${cut}. ${keys}`;
  show(
    at("list"),
    shown.map((c) => [c.id, [wanted.run, c], () => option(c)]),
  );
  select(found.find((c) => c.id === current) ?? found[0]);
}

function option(c) {
  const made = el(
    "div",
    { role: "option", id: `option-${c.id}`, "aria-selected": "false" },
    el("div", {}, verdict(c), ` ${c.task} \u00b7 ${c.question}`),
    el("div", { class: "about" }, about(c)),
  );
  made.addEventListener("click", () => {
    select(c);
    remember(c);
  });
  return made;
}

function select(c) {
  const list = at("list");
  list.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
  list.removeAttribute("aria-activedescendant");
  show(at("conversation"), c ? [["shown", [c, isColoured], () => conversation(c)]] : []);
  if (!c) return at("conversation").replaceChildren(note("No rollout is like this."));
  current = c.id;
  const chosen = at(`option-${c.id}`);
  if (!chosen) return;
  chosen.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", chosen.id);
  const above = chosen.offsetTop - list.offsetTop,
    below = above + chosen.offsetHeight - list.clientHeight;
  if (list.scrollTop > above) list.scrollTop = above;
  if (list.scrollTop < below) list.scrollTop = below;
}

// The address names the rollout, so that it can be sent to somebody.
const remember = (c) => history.replaceState(null, "", linkTo(wanted.run, c));

function step(by) {
  const now = found.findIndex((c) => c.id === current);
  const c = found[Math.abs(by) === Infinity ? (by > 0 ? found.length - 1 : 0) : now + by];
  if (!c) return;
  select(c);
  remember(c);
}

// What the address names, as it was before it was encoded; nothing if somebody wrote it by hand and wrongly.
function addressed() {
  try {
    return decodeURI(location.hash);
  } catch {
    return "";
  }
}

// Show the rollout that the address names; filters that hide it are taken back.
function openLink() {
  const [, number, id] = addressed().match(/^#(\d*)\/(.+)$/) ?? [];
  const run = runs[Number(number || 0)],
    c = run && conversationsOf(run).find((c) => c.id === id);
  if (!c) return;
  current = id;
  if (wanted.run !== Number(number || 0) || !found.some((c) => c.id === id)) {
    Object.assign(wanted, everything, { run: Number(number || 0), phase: c.phase });
    at("filters").replaceChildren();
  }
  drawRollouts();
  at("rollouts").scrollIntoView();
}
