// Groups of one step before and after Resample-on-Correct: who was kept, and why.

const chosenGroups = { run: 0, place: null };  // place null: the last step that is shown

const isOfStage = (c) => c.is_kept !== null;
const ruleOf = {
  weighted: "Right rollouts were drawn without replacement, the likelier the smaller their penalties: weight 1 / (p_err + p_format + epsilon). Wrong ones were drawn uniformly.",
  topk: "Right rollouts of the smallest penalties were kept, ties at random. Wrong ones were drawn uniformly.",
  random: "Rollouts were drawn uniformly, right and wrong alike.",
  off: "Every rollout was kept.",
};

function drawGroups() {
  const number = runs[chosenGroups.run] ? chosenGroups.run : 0, run = runs[number];
  const steps = Object.keys(run).filter((name) => name.startsWith("rollouts/") && run[name].some(isOfStage));
  const place = Math.min(chosenGroups.place ?? steps.length - 1, steps.length - 1);
  at("groups").hidden = !steps.length && runs.length === 1;
  const label = (name) => name.replace("rollouts/", "").replace("/", ", step ");
  show(at("groups-step"), [
    ...(runs.length > 1 ? [["run", [runs.length, number], () => runChoice(chosenGroups, drawGroups)]] : []),
    ["step", [steps, place], () => stepChoice(steps.map(label), place)],
  ]);
  at("groups-rule").textContent = ruleOf[run.about.roc.mode] ?? "";
  const groups = Object.entries(byProblem(run[steps[place]] ?? []));
  show(at("groups-list"), groups.map(([problem, members]) => [problem, [number, run.about.roc, members], () => group(number, run.about.roc, members)]));
}

function byProblem(conversations) {
  const groups = {};
  for (const c of conversations) (groups[c.problem] ??= []).push(c);
  return groups;
}

function stepChoice(labels, place) {
  const go = (wanted) => {
    chosenGroups.place = wanted === labels.length - 1 ? null : wanted;
    drawGroups();
  };
  const button = (text, title, wanted) => {
    const made = el("button", { type: "button", title, "aria-label": title }, text);
    made.disabled = wanted < 0 || wanted >= labels.length;
    made.addEventListener("click", () => go(wanted));
    return made;
  };
  const options = Object.fromEntries(labels.map((label, n) => [label, n]));
  return el("span", { class: "stepper" }, choose("step", options, place, go),
    button("\u2190", "earlier step", place - 1), button("\u2192", "later step", place + 1));
}

function group(number, roc, members) {
  const kept = members.filter((c) => c.is_kept), [{ task, question, expected }] = members;
  return el("article", { class: "group" },
    el("h3", {}, `${task} \u00b7 expected ${expected}`), el("p", { class: "asked" }, question),
    strip("sampled", members, number), strip("kept", kept, number),
    el("p", { class: "note" }, balance(members, kept)),
    el("details", {}, el("summary", {}, "who was kept, and why"), fateTable(number, roc, members)));
}

function strip(label, members, number) {
  const squares = members.map((c) => {
    const fate = `rollout ${c.index}: ${c.is_right ? "right" : "wrong"}, ${plural(c.num_errors, "failed call")} of ${c.num_calls}, ${c.is_kept ? "kept" : "dropped"}`;
    const kind = [c.is_right ? "right" : "wrong", c.is_kept ? "kept" : "dropped", ...(c.num_errors ? ["erring"] : [])].join(" ");
    return el("a", { class: `square ${kind}`, href: linkTo(number, c), title: fate, "aria-label": fate }, c.is_right ? "\u2713" : "\u2717");
  });
  return el("div", { class: "strip" }, el("span", {}, `${label} ${members.length}`), el("div", {}, ...squares));
}

function balance(members, kept) {
  const right = (cs) => cs.filter((c) => c.is_right);
  const errors = (cs) => { const calls = sum(cs.map((c) => c.num_calls)); return calls ? percent(sum(cs.map((c) => c.num_errors)) / calls, 0) : "no calls"; };
  const counts = `right ${right(members).length} \u2192 ${right(kept).length}, wrong ${members.length - right(members).length} \u2192 ${kept.length - right(kept).length}`;
  const clean = `failed calls in right ones ${errors(right(members))} \u2192 ${errors(right(kept))}`;
  const isEqual = new Set(kept.map((c) => c.is_right)).size < 2;
  return [counts, clean, ...(isEqual ? ["all kept rewards are equal, so nothing is learned from this group"] : [])].join(" \u00b7 ");
}

function fateTable(number, roc, members) {
  const isWeighed = roc.mode === "weighted" || roc.mode === "topk", hasPenalties = members.some((c) => c.error_penalty !== null);
  const digits = (value) => (value === null ? "-" : written(value));
  const weight = (c) => c.is_right && c.error_penalty !== null
    ? written(1 / ((roc.use_error_penalty === false ? 0 : c.error_penalty) + (roc.use_format_penalty === false ? 0 : c.format_penalty) + (roc.epsilon ?? 0.1))) : "uniform";
  const heads = ["rollout", "answer", "failed calls", "tokens", ...(hasPenalties ? ["p_err", "p_format", ...(isWeighed ? ["weight"] : [])] : []), "RoC"];
  const order = [...members].sort((a, b) => b.is_right - a.is_right || b.is_kept - a.is_kept || a.index - b.index);
  const rows = order.map((c) => row(el("a", { href: linkTo(number, c) }, `${c.is_right ? "\u2713" : "\u2717"} ${c.index}`), [
    c.answer ?? "none", `${c.num_errors} of ${c.num_calls}`, String(c.num_tokens),
    ...(hasPenalties ? [digits(c.error_penalty), digits(c.format_penalty), ...(isWeighed ? [weight(c)] : [])] : []),
    c.is_kept ? "kept" : "dropped",
  ].map((text) => el("td", {}, text))));
  const missing = hasPenalties ? [] : [note("This run did not record penalties.")];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "fates in this group" }, table(columnHeads(heads), rows), ...missing);
}
