// Where the time of a step went: a bar per step, the course of the chosen one, and shares by stage.

const works = {
  generation: "generation",
  both: "generation beside learning",
  learner: "learner",
  tools: "only tools",
  reward: "only grading",
  idle: "idle",
};
const WIDEST_STEP = 60;
const SHORTEST_S = 0.005; // written as 0.00 s, and left out
const chosenStep = { run: 0, place: null }; // place null: the last step, also when a live run goes on

function drawAnatomy() {
  const run = runs[chosenStep.run],
    steps = run.anatomy;
  const place = Math.min(chosenStep.place ?? steps.length - 1, steps.length - 1);
  at("anatomy").hidden = !runs.some((run) => run.anatomy.length);
  const width = Math.max(320, at("anatomy-steps").clientWidth);
  show(
    at("anatomy-run"),
    runs.length > 1 ? [["run", [runs.length, chosenStep.run], () => runChoice(chosenStep, drawAnatomy)]] : [],
  );
  show(
    at("anatomy-steps"),
    steps.length ? [["steps", [steps, width], ([steps]) => stepBars(steps, width)]] : [],
  );
  show(
    at("anatomy-course"),
    steps.length ? [["course", [steps[place], width], ([step]) => course(step, width)]] : [],
  );
  show(at("anatomy-stages"), steps.length ? [["stages", steps, stageShares]] : []);
  markStep(place);
}

function chooseStep(place) {
  const { length } = runs[chosenStep.run].anatomy;
  const wanted = Math.min(length - 1, Math.max(0, place));
  chosenStep.place = wanted === length - 1 ? null : wanted;
  drawAnatomy();
}

function markStep(place) {
  at("anatomy-steps")
    .querySelectorAll(".step")
    .forEach((bar, n) => bar.classList.toggle("chosen", n === place));
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
  const tick = tickStep(0, peak, 4),
    top = Math.ceil(peak / tick - 1e-9) * tick;
  const slot = Math.min(WIDEST_STEP, (box.right - box.left) / steps.length);
  const x = (n) => box.left + (n + 0.5) * slot,
    y = (s) => box.bottom - (s / top) * (box.bottom - box.top);
  const grid = ticks(0, top, tick).flatMap((value) => [
    svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y(value), y2: y(value) }),
    svg("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, tick)),
  ]);
  const bars = steps.map((step, n) => stepBar(step, { x: x(n), y, slot, box, choose: () => chooseStep(n) }));
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${width} 172`,
      role: "img",
      tabindex: "0",
      "aria-label": "Seconds of each RL step by what went on; arrow keys choose a step",
    },
    ...bands(stepSpans(steps), x, box),
    ...grid,
    ...bars,
    svg("text", { x: box.right, y: 168, "text-anchor": "end" }, "RL step"),
  );
  picture.addEventListener("keydown", (event) => {
    const now = chosenStep.place ?? steps.length - 1;
    const place = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (place !== undefined) {
      event.preventDefault();
      chooseStep(place);
    }
  });
  return picture;
}

// One step as a stack of what went on, above an area that can be clicked however short the step was.
function stepBar(step, { x, y, slot, box, choose }) {
  const shown = Object.keys(works).filter((work) => step.shares_s[work]);
  let below = 0;
  const pieces = shown.map((work) => {
    const from = below;
    below += step.shares_s[work];
    const size = { width: slot * 0.84, height: y(from) - y(below) };
    return svg("rect", { class: `work ${work}`, x: x - slot * 0.42, y: y(below), ...size });
  });
  const size = { width: slot, height: box.bottom - box.top };
  const area = svg("rect", { class: "area", x: x - slot / 2, y: box.top, ...size });
  const bar = svg("g", { class: "step" }, area, ...pieces, svg("title", {}, stepText(step)));
  bar.addEventListener("click", choose);
  return bar;
}

function stageShares(steps) {
  const spans = stepSpans(steps);
  const shown = Object.keys(works).filter((work) => steps.some((step) => step.shares_s[work] >= SHORTEST_S));
  const rows = spans.map(({ name, first, last }) => {
    const part = steps.slice(first, last + 1),
      wall = sum(part.map((step) => step.wall_s)) || 1;
    const cells = shown.map((work) =>
      el("td", {}, percent(sum(part.map((step) => step.shares_s[work] ?? 0)) / wall)),
    );
    return row(name, [
      el("td", {}, String(part.length)),
      el("td", {}, seconds(wall / part.length)),
      ...cells,
    ]);
  });
  const head = (work) => el("th", { scope: "col" }, el("span", { class: `share ${work}` }, works[work]));
  return table([...columnHeads(["stage", "steps", "per step"]), ...shown.map(head)], rows);
}
