// Curves over steps; runs that are compared share a chart.

const frame = { width: 360, height: 190, left: 44, right: 14, top: 20, bottom: 32 };
const NUM_TONES = 8;

// The charts of all runs by title. One run: a colour per line. Several: a colour per run, dashes per line; when
// all colours are taken, the next runs have them with dashes of their own.
function sharedCharts(runs) {
  const shared = new Map();
  const areSeveral = runs.length > 1;
  runs.forEach((run, number) => {
    for (const chart of run.charts) {
      const known = shared.get(chart.title) ?? { ...chart, lines: [] };
      shared.set(chart.title, { ...known, spans: commonSpans(known.spans, chart.spans) });
      chart.lines.forEach(({ label, points }, place) => {
        if (!points.length) return;
        const names = [areSeveral && nameOf(number), (!areSeveral || chart.lines.length > 1) && label];
        const look = areSeveral
          ? { tone: number % NUM_TONES, dash: place + 2 * Math.floor(number / NUM_TONES) }
          : { tone: place, dash: place };
        shared.get(chart.title).lines.push({ label: names.filter(Boolean).join(" "), points, ...look });
      });
    }
  });
  return [...shared.values()];
}

// Stages from the first step on, as far as both have the same: a band is true of every line above it.
function commonSpans(spans, others) {
  const common = [];
  for (const [n, span] of spans.entries()) {
    const other = others[n];
    if (other?.name !== span.name || other.first !== span.first) break;
    common.push({ ...span, last: Math.min(span.last, other.last) });
    if (other.last !== span.last) break;
  }
  return common;
}

function scales(chart) {
  const points = chart.lines.flatMap((line) => line.points);
  const xs = points.map(([x]) => x),
    ys = points.map(([, y]) => y);
  const ends = chart.spans.flatMap((span) => [span.first, span.last]);
  const first = Math.min(...xs, ...ends),
    last = Math.max(...xs, ...ends);
  const bottom = Math.min(0, ...ys);
  const peak = Math.max(...ys) > bottom ? Math.max(...ys) : bottom + 1;
  const tick = tickStep(bottom, peak, 4);
  const low = Math.floor(bottom / tick + 1e-9) * tick,
    top = Math.ceil(peak / tick - 1e-9) * tick;
  const inner = frame.width - frame.left - frame.right;
  return {
    first,
    last,
    low,
    top,
    tick,
    x: (step) => frame.left + (last > first ? (step - first) / (last - first) : 0.5) * inner,
    y: (value) =>
      frame.height - frame.bottom - ((value - low) / (top - low)) * (frame.height - frame.top - frame.bottom),
  };
}

// Stages as shaded bands: `x` places a step, `box` is the drawn area.
function bands(spans, x, box) {
  return spans.flatMap((span, number) => {
    const from = number === 0 ? box.left : x(span.first - 0.5);
    const to = number === spans.length - 1 ? Math.min(box.right, x(span.last + 0.5)) : x(span.last + 0.5);
    const label = svg("text", { x: (from + to) / 2, y: box.top - 8, "text-anchor": "middle" }, span.name);
    if (number % 2) return [label];
    return [
      svg("rect", {
        class: "band",
        x: from,
        y: box.top,
        width: Math.max(0, to - from),
        height: box.bottom - box.top,
      }),
      label,
    ];
  });
}

function axes(chart, scale) {
  const rows = ticks(scale.low, scale.top, scale.tick).flatMap((value) => {
    const y = scale.y(value);
    return [
      svg("line", { class: "grid", x1: frame.left, x2: frame.width - frame.right, y1: y, y2: y }),
      svg(
        "text",
        { x: frame.left - 6, y: y + 4, "text-anchor": "end" },
        tickText(value, scale.tick, chart.format),
      ),
    ];
  });
  const columns = ticks(scale.first, scale.last, Math.max(1, tickStep(0, scale.last, 6))).map((x) =>
    svg("text", { x: scale.x(x), y: frame.height - frame.bottom + 14, "text-anchor": "middle" }, String(x)),
  );
  const name = svg(
    "text",
    { x: frame.width - frame.right, y: frame.height - 3, "text-anchor": "end" },
    chart.x_label,
  );
  return [...rows, ...columns, name];
}

function drawnLine(line, scale) {
  const [[x, y]] = line.points;
  const dot = svg("circle", { cx: scale.x(x), cy: scale.y(y), r: 3 });
  const path = line.points.map(([x, y]) => `${scale.x(x).toFixed(1)},${scale.y(y).toFixed(1)}`).join(" ");
  return svg(
    "g",
    { class: `tone-${line.tone} dash-${line.dash}` },
    svg("polyline", { points: path }),
    ...(line.points.length === 1 ? [dot] : []),
  );
}

function lineKey(line) {
  const sample = svg("polyline", { points: "0,3 26,3" });
  return el(
    "span",
    { class: `key tone-${line.tone} dash-${line.dash}` },
    svg("svg", { viewBox: "0 0 26 6", "aria-hidden": "true" }, sample),
    line.label,
  );
}

// Calls `read(place)` for a place in [0, 1] along the drawn area, by pointer; `move(steps)` by arrow keys.
function readable(picture, box, read, move) {
  picture.addEventListener("pointermove", (event) => {
    const { left, width } = picture.getBoundingClientRect();
    const along = ((event.clientX - left) / width) * picture.viewBox.baseVal.width;
    read((along - box.left) / (box.right - box.left));
  });
  picture.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (steps) {
      event.preventDefault();
      move(steps);
    }
  });
  picture.addEventListener("focus", () => move(0));
}

function figure(chart) {
  const scale = scales(chart);
  const box = {
    left: frame.left,
    right: frame.width - frame.right,
    top: frame.top,
    bottom: frame.height - frame.bottom,
  };
  const cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const picture = svg(
    "svg",
    {
      viewBox: `0 0 ${frame.width} ${frame.height}`,
      role: "img",
      tabindex: "0",
      "aria-label": `${chart.title}, ${chart.unit}, over ${chart.x_label}`,
    },
    ...bands(chart.spans, scale.x, box),
    ...axes(chart, scale),
    ...chart.lines.map((line) => drawnLine(line, scale)),
    cursor,
  );
  const reading = el("div", { class: "reading", "aria-live": "polite" });
  let step = scale.last;

  function read(wanted) {
    step = Math.min(scale.last, Math.max(scale.first, Math.round(wanted)));
    fill(cursor, { x1: scale.x(step), x2: scale.x(step), visibility: "visible" }, []);
    const values = chart.lines.map((line) => {
      const point = line.points.find(([x]) => x === step);
      return `${line.label} ${point ? written(point[1], chart.format) : "-"}`;
    });
    reading.textContent = `${chart.x_label} ${step}: ${values.join(", ")}`;
  }
  readable(
    picture,
    box,
    (place) => read(scale.first + place * (scale.last - scale.first)),
    (steps) => read(step + steps),
  );
  const keys = chart.lines.length > 1 ? chart.lines.map(lineKey) : [];
  const caption = el(
    "figcaption",
    {},
    el("b", {}, chart.title),
    el("span", {}, chart.unit),
    el("div", {}, ...keys),
  );
  return el("figure", {}, caption, picture, reading);
}
