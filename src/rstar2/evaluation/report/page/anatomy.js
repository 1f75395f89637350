// Where the time of a step went: a bar per step, the course of the chosen one, and shares by stage.

const works = {
  generation: "generation", both: "generation beside learning", learner: "learner",
  tools: "only tools", reward: "only grading", idle: "idle",
};
const lanes = { generation: "turns at engines", tools: "tool calls", reward: "gradings", learner: "learner" };
const WIDEST_STEP = 60;
const SHORTEST_S = 0.005;  // written as 0.00 s, and left out
const chosenStep = { run: 0, place: null };  // place null: the last step, also when a live run goes on

function drawAnatomy() {
  const run = runs[chosenStep.run] ?? runs[0], steps = run.anatomy;
  const place = Math.min(chosenStep.place ?? steps.length - 1, steps.length - 1);
  at("anatomy").hidden = !runs.some((run) => run.anatomy.length);
  const width = Math.max(320, at("anatomy-steps").clientWidth);
  show(at("anatomy-run"), runs.length > 1 ? [["run", [runs.length, chosenStep.run], () => runChoice(chosenStep, drawAnatomy)]] : []);
  show(at("anatomy-steps"), steps.length ? [["steps", [steps, width], ([steps]) => stepBars(steps, width)]] : []);
  show(at("anatomy-course"), steps.length ? [["course", [steps[place], width], ([step]) => course(step, width)]] : []);
  show(at("anatomy-stages"), steps.length ? [["stages", steps, stageShares]] : []);
  markStep(place);
}

const runChoice = (state, redraw) => choose("run", Object.fromEntries(runs.map((_, n) => [nameOf(n), n])), state.run, (run) => {
  Object.assign(state, { run, place: null });
  redraw();
});

function chooseStep(place) {
  const { length } = (runs[chosenStep.run] ?? runs[0]).anatomy;
  const wanted = Math.min(length - 1, Math.max(0, place));
  chosenStep.place = wanted === length - 1 ? null : wanted;
  drawAnatomy();
}

function markStep(place) {
  at("anatomy-steps").querySelectorAll(".step").forEach((bar, n) => bar.classList.toggle("chosen", n === place));
}

function stepSpans(steps) {
  const spans = [];
  steps.forEach(({ phase }, n) => {
    if (spans.at(-1)?.name !== phase) spans.push({ name: phase, first: n, last: n });
    spans.at(-1).last = n;
  });
  return spans;
}

function stepBars(steps, width) {
  const box = { left: 44, right: width - 8, top: 22, bottom: 150 };
  const peak = Math.max(...steps.map((step) => step.wall_s), 1e-9);
  const tick = tickStep(0, peak, 4), top = Math.ceil(peak / tick - 1e-9) * tick;
  const slot = Math.min(WIDEST_STEP, (box.right - box.left) / steps.length);
  const x = (n) => box.left + (n + 0.5) * slot, y = (s) => box.bottom - (s / top) * (box.bottom - box.top);
  const grid = ticks(0, top, tick).flatMap((value) => [
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
    svg("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, tick)),
  ]);
  const bars = steps.map((step, n) => {
    let below = 0;
    const pieces = Object.keys(works).filter((work) => step.shares_s[work]).map((work) => {
      const from = below;
      below += step.shares_s[work];
      return svg("rect", { class: `work ${work}`, x: x(n) - slot * 0.42, width: slot * 0.84, y: y(below), height: y(from) - y(below) });
    });
    const area = svg("rect", { class: "area", x: x(n) - slot / 2, width: slot, y: box.top, height: box.bottom - box.top });
    const bar = svg("g", { class: "step" }, area, ...pieces, svg("title", {}, stepText(step)));
    bar.addEventListener("click", () => chooseStep(n));
    return bar;
  });
  const picture = svg("svg", {
    viewBox: `0 0 ${width} 172`, role: "img", tabindex: "0", "aria-label": "Seconds of each RL step by what went on; arrow keys choose a step",
  }, ...bands(stepSpans(steps), x, box), ...grid, ...bars, svg("text", { x: box.right, y: 168, "text-anchor": "end" }, "RL step"));
  picture.addEventListener("keydown", (event) => {
    const now = chosenStep.place ?? steps.length - 1;
    const place = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (place !== undefined) { event.preventDefault(); chooseStep(place); }
  });
  return picture;
}

const stepText = (step) => `${step.phase}, step ${step.step}: ${seconds(step.wall_s)}`;

function course(step, width) {
  const shares = Object.keys(works).filter((work) => step.shares_s[work] >= SHORTEST_S).map((work) =>
    el("span", { class: `share ${work}` }, `${works[work]} ${seconds(step.shares_s[work])}`));
  const head = el("p", { class: "shares", role: "status" }, el("b", {}, stepText(step)), ...shares);
  if (!step.in_flight) return el("div", {}, head, note("Its course was not kept: only these seconds are known."));
  const box = { left: Math.min(130, width * 0.3), right: width - 8 }, height = 40;
  const names = Object.keys(lanes), bottom = names.length * (height + 8);
  const x = (part) => box.left + (part / step.in_flight.generation.length) * (box.right - box.left);
  const drawn = names.flatMap((name, n) => lane(name, step.in_flight[name], x, n * (height + 8), height));
  const tick = tickStep(0, Math.max(step.wall_s, 1e-9), width < 500 ? 4 : 8);
  const axis = ticks(0, step.wall_s, tick).map((value) => {
    const place = box.left + (value / (step.wall_s || 1)) * (box.right - box.left);
    return svg("text", { x: place, y: bottom + 14, "text-anchor": "middle" }, tickText(value, tick));
  });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${bottom + 32}`, role: "img", "aria-label": `What was under way during ${stepText(step)}` },
    ...drawn, ...axis, svg("text", { x: box.right, y: bottom + 29, "text-anchor": "end" }, "seconds of the step"));
  return el("div", {}, head, picture);
}

// One kind of work over the step: how many were under way, as an area of steps.
function lane(name, counts, x, top, height) {
  const peak = Math.max(...counts), floor = top + height;
  const y = (count) => floor - (peak ? count / peak : 0) * (height - 4);
  const path = counts.map((count, part) => `L${x(part).toFixed(1)},${y(count).toFixed(1)} L${x(part + 1).toFixed(1)},${y(count).toFixed(1)}`).join(" ");
  const most = !peak ? "hardly any" : name === "learner" ? "" : `up to ${Math.ceil(peak)}`;
  return [
    svg("line", { class: "grid", x1: x(0), x2: x(counts.length), y1: floor, y2: floor }),
    svg("path", { class: `work ${name}`, d: `M${x(0)},${floor} ${path} L${x(counts.length)},${floor} Z` }),
    svg("text", { class: "lane", x: 0, y: top + height / 2 + 2 }, lanes[name]),
    svg("text", { x: 0, y: top + height / 2 + 16 }, most),
  ];
}

function stageShares(steps) {
  const spans = stepSpans(steps);
  const shown = Object.keys(works).filter((work) => steps.some((step) => step.shares_s[work] >= SHORTEST_S));
  const rows = spans.map(({ name, first, last }) => {
    const part = steps.slice(first, last + 1), wall = sum(part.map((step) => step.wall_s)) || 1;
    const cells = shown.map((work) => el("td", {}, percent(sum(part.map((step) => step.shares_s[work] ?? 0)) / wall)));
    return row(name, [el("td", {}, String(part.length)), el("td", {}, seconds(wall / part.length)), ...cells]);
  });
  return table([...columnHeads(["stage", "steps", "per step"]),
    ...shown.map((work) => el("th", { scope: "col" }, el("span", { class: `share ${work}` }, works[work])))], rows);
}
