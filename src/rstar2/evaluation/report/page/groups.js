// Groups of one step before and after Resample-on-Correct: who was kept, and why.

const chosenGroups = { run: 0, place: null }; // place null: the last step that is shown

const mark = (c) => (c.is_right ? "\u2713" : "\u2717");
const isOfStage = (c) => c.is_kept !== null;
const ruleOf = {
  weighted:
    "Right rollouts were drawn without replacement, the likelier the smaller their penalties: " +
    "weight 1 / (p_err + p_format + epsilon). Wrong ones were drawn uniformly.",
  topk:
    "Right rollouts of the smallest penalties were kept, ties at random. " +
    "Wrong ones were drawn uniformly.",
  random: "Rollouts were drawn uniformly, right and wrong alike.",
  off: "Every rollout was kept.",
};

function drawGroups() {
  const number = chosenGroups.run;
  const run = runs[number];
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
  show(
    at("groups-list"),
    groups.map(([drawn, members]) => [
      drawn,
      [number, run.about.roc, members],
      () => group(number, run.about.roc, members),
    ]),
  );
}

// A problem that a step drew twice has two groups.
function byProblem(conversations) {
  const groups = {};
  for (const c of conversations) (groups[`${c.occasion}/${c.problem}`] ??= []).push(c);
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
  return el(
    "span",
    { class: "stepper" },
    choose("step", options, place, go),
    button("\u2190", "earlier step", place - 1),
    button("\u2192", "later step", place + 1),
  );
}

function group(number, roc, members) {
  const kept = members.filter((c) => c.is_kept);
  const [{ task, question, expected, occasion }] = members;
  const again = occasion ? ` \u00b7 group ${occasion + 1} of this problem` : "";
  return el(
    "article",
    { class: "group" },
    el("h3", {}, `${task} \u00b7 expected ${expected}${again}`),
    el("p", { class: "asked" }, question),
    strip("sampled", members, number),
    strip("kept", kept, number),
    el("p", { class: "note" }, balance(members, kept)),
    el("details", {}, el("summary", {}, "who was kept, and why"), fateTable(number, roc, members)),
  );
}

function strip(label, members, number) {
  const squares = members.map((c) => {
    const outcome = c.is_right ? "right" : "wrong";
    const fate = c.is_kept ? "kept" : "dropped";
    const calls = `${plural(c.num_errors, "failed call")} of ${c.num_calls}`;
    const title = `rollout ${c.index}: ${outcome}, ${calls}, ${fate}`;
    const look = `square ${outcome} ${fate} ${c.num_errors ? "erring" : ""}`;
    return el("a", { class: look, href: linkTo(number, c), title, "aria-label": title }, mark(c));
  });
  return el(
    "div",
    { class: "strip" },
    el("span", {}, `${label} ${members.length}`),
    el("div", {}, ...squares),
  );
}

// What the choice did: counts of right and wrong, and how clean the right ones are, before and after.
function balance(members, kept) {
  const right = members.filter((c) => c.is_right);
  const keptRight = kept.filter((c) => c.is_right);
  const found = [
    `right ${right.length} \u2192 ${keptRight.length}`,
    `wrong ${members.length - right.length} \u2192 ${kept.length - keptRight.length}`,
    `failed calls in right ones ${errorShare(right)} \u2192 ${errorShare(keptRight)}`,
  ];
  const isEqual = keptRight.length === 0 || keptRight.length === kept.length;
  if (isEqual) found.push("all kept rewards are equal, so nothing is learned from this group");
  return found.join(" \u00b7 ");
}

function errorShare(conversations) {
  const calls = sum(conversations.map((c) => c.num_calls));
  return calls ? percent(sum(conversations.map((c) => c.num_errors)) / calls, 0) : "no calls";
}

// Right ones first, then who was kept; a wrong rollout has no weight, as it was drawn uniformly.
function fateTable(number, roc, members) {
  const hasPenalties = members.some((c) => c.error_penalty !== null);
  const columns = [
    ["answer", (c) => c.answer ?? "none"],
    ["failed calls", (c) => `${c.num_errors} of ${c.num_calls}`],
    ["tokens", (c) => String(c.num_tokens)],
  ];
  if (hasPenalties) {
    columns.push(["p_err", (c) => written(c.error_penalty)], ["p_format", (c) => written(c.format_penalty)]);
  }
  if (hasPenalties && roc.mode === "weighted") {
    columns.push(["weight", (c) => (c.is_right ? written(weight(c, roc)) : "uniform")]);
  }
  columns.push(["RoC", (c) => (c.is_kept ? "kept" : "dropped")]);
  const order = (a, b) => b.is_right - a.is_right || b.is_kept - a.is_kept || a.index - b.index;
  const rows = [...members].sort(order).map((c) => {
    const link = el("a", { href: linkTo(number, c) }, `${mark(c)} ${c.index}`);
    return row(link, texts(columns.map(([, cell]) => cell(c))));
  });
  const heads = columnHeads(["rollout", ...columns.map(([name]) => name)]);
  const missing = hasPenalties ? [] : [note("This run did not record penalties.")];
  return scrolling("fates in this group", table(heads, rows), ...missing);
}

// As roc.py draws: 1 / (p_err + p_format + epsilon), without the penalties that the config leaves out.
function weight(c, roc) {
  const error = roc.use_error_penalty ? c.error_penalty : 0;
  const format = roc.use_format_penalty ? c.format_penalty : 0;
  return 1 / (error + format + roc.epsilon);
}
