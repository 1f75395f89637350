// The tables of phases, of tasks, and of settings in which runs differ.

function table(heads, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}
const columnHeads = (names) => names.map((name) => el("th", { scope: "col" }, name));
const texts = (cells) => cells.map((cell) => el("td", {}, cell));
const row = (name, cells) => el("tr", {}, el("th", { scope: "row" }, name), ...cells);

// Runs that are compared stand below each other, phase by phase.
function phaseTable(runs) {
  const heads = page.head.columns.map((c) => el("th", { scope: "col", title: c.meaning }, c.title));
  if (runs.length > 1) heads.splice(1, 0, ...columnHeads(["run"]));
  const lines = runs.flatMap((run, number) =>
    run.phases.map(([phase, ...cells]) => ({ number, phase, cells })),
  );
  const phases = [...new Set(lines.map((line) => line.phase))];
  const inOrder = phases.flatMap((phase) => lines.filter((line) => line.phase === phase));
  const rows = inOrder.map(({ number, phase, cells }) => {
    const shown = runs.length > 1 ? [nameOf(number), ...cells] : cells;
    return row(phase, texts(shown));
  });
  return rows.length ? table(heads, rows) : note("No phase has ended yet.");
}

function taskTable(tasks, caption) {
  const cell = (share) =>
    share === null
      ? el("td", {}, "-")
      : el("td", { style: `background: rgba(var(--heat), ${(share * 0.45).toFixed(3)})` }, percent(share, 0));
  const rows = tasks.tasks.map((task) => row(task.name, task.shares.map(cell)));
  if (!rows.length) return note("No phase has ended yet.");
  const title = caption ? [el("h3", {}, caption)] : [];
  return scrolling(
    `pass@1 by task ${caption}`,
    ...title,
    table(columnHeads(["task", ...tasks.phases]), rows),
  );
}

// A table of rstar2 analyze: cells as they are to be read.
function textTable({ title, columns, rows }) {
  const look = columns.map((_, n) => (rows.some((cells) => cells[n].length > 40) ? { class: "long" } : {}));
  const heads = columns.map((name, n) => el("th", { scope: "col", ...look[n] }, name));
  const drawn = rows.map(([first, ...cells]) =>
    row(
      first,
      cells.map((cell, n) => el("td", look[n + 1], cell)),
    ),
  );
  return scrolling(title, el("h3", {}, title), table(heads, drawn));
}

function differenceTable(differences, names) {
  if (!differences.length) return note("Their configurations are the same.");
  const rows = differences.map(({ key, values }) => row(key, texts(values)));
  return table(columnHeads(["setting", ...names]), rows);
}
