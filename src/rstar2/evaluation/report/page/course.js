// The course of one step: how much of each kind of work was under way, from its begin to its end.

const lanes = { generation: "turns at engines", tools: "tool calls", reward: "gradings", learner: "learner" };

const stepText = (step) => `${step.phase}, step ${step.step}: ${seconds(step.wall_s)}`;

function course(step, width) {
  const shares = Object.keys(works)
    .filter((work) => step.shares_s[work] >= SHORTEST_S)
    .map((work) => el("span", { class: `share ${work}` }, `${works[work]} ${seconds(step.shares_s[work])}`));
  const head = el("p", { class: "shares", role: "status" }, el("b", {}, stepText(step)), ...shares);
  const unknown = "Its course was not kept: only these seconds are known.";
  if (!step.in_flight) return el("div", {}, head, note(unknown));
  const box = { left: Math.min(130, width * 0.3), right: width - 8 },
    height = 40;
  const names = Object.keys(lanes),
    bottom = names.length * (height + 8);
  const x = (part) => box.left + (part / step.in_flight.generation.length) * (box.right - box.left);
  const drawn = names.flatMap((name, n) => lane(name, step.in_flight[name], x, n * (height + 8), height));
  const tick = tickStep(0, Math.max(step.wall_s, 1e-9), width < 500 ? 4 : 8);
  const axis = ticks(0, step.wall_s, tick).map((value) => {
    const place = box.left + (value / (step.wall_s || 1)) * (box.right - box.left);
    return svg("text", { x: place, y: bottom + 14, "text-anchor": "middle" }, tickText(value, tick));
  });
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${bottom + 32}`,
      role: "img",
      "aria-label": `What was under way during ${stepText(step)}`,
    },
    ...drawn,
    ...axis,
    svg("text", { x: box.right, y: bottom + 29, "text-anchor": "end" }, "seconds of the step"),
  );
  return el("div", {}, head, picture);
}

// One kind of work over the step: how many were under way, as an area of steps.
function lane(name, counts, x, top, height) {
  const peak = Math.max(...counts),
    floor = top + height;
  const y = (count) => floor - (peak ? count / peak : 0) * (height - 4);
  const path = counts
    .map(
      (count, part) =>
        `L${x(part).toFixed(1)},${y(count).toFixed(1)} L${x(part + 1).toFixed(1)},${y(count).toFixed(1)}`,
    )
    .join(" ");
  const most = !peak ? "hardly any" : name === "learner" ? "" : `up to ${Math.ceil(peak)}`;
  return [
    svg("line", { class: "grid", x1: x(0), x2: x(counts.length), y1: floor, y2: floor }),
    svg("path", { class: `work ${name}`, d: `M${x(0)},${floor} ${path} L${x(counts.length)},${floor} Z` }),
    svg("text", { class: "lane", x: 0, y: top + height / 2 + 2 }, lanes[name]),
    svg("text", { x: 0, y: top + height / 2 + 16 }, most),
  ];
}
