// The tables of phases, of tasks, and of settings in which runs differ.

function table(heads, rows) {
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}
const columnHeads = (names) => names.map((name) => el("th", { scope: "col" }, name));
const row = (name, cells) => el("tr", {}, el("th", { scope: "row" }, name), ...cells);

// Runs that are compared stand below each other, phase by phase.
function phaseTable(runs) {
  const heads = page.head.columns.map((c) => el("th", { scope: "col", title: c.meaning }, c.title));
  if (runs.length > 1) heads.splice(1, 0, ...columnHeads(["run"]));
  const phases = [...new Set(runs.flatMap((run) => run.phases.map(([phase]) => phase)))];
  const rows = phases.flatMap((wanted) => runs.flatMap((run, number) =>
    run.phases.filter(([phase]) => phase === wanted).map(([phase, ...cells]) =>
      row(phase, [...(runs.length > 1 ? [nameOf(number)] : []), ...cells].map((cell) => el("td", {}, cell))))));
  return rows.length ? table(heads, rows) : note("No phase has ended yet.");
}

function taskTable(tasks, caption) {
  const cell = (share) => share === null
    ? el("td", {}, "-")
    : el("td", { style: `background: rgba(var(--heat), ${(share * 0.45).toFixed(3)})` }, percent(share, 0));
  const rows = tasks.tasks.map((task) => row(task.name, task.shares.map(cell)));
  if (!rows.length) return note("No phase has ended yet.");
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `pass@1 by task ${caption}` },
    ...(caption ? [el("h3", {}, caption)] : []), table(columnHeads(["task", ...tasks.phases]), rows));
}

// A table of rstar2 analyze: cells as they are to be read.
function textTable({ title, columns, rows }) {
  const look = columns.map((_, n) => (rows.some((cells) => cells[n].length > 40) ? { class: "long" } : {}));
  const heads = columns.map((name, n) => el("th", { scope: "col", ...look[n] }, name));
  const drawn = rows.map(([first, ...cells]) => row(first, cells.map((cell, n) => el("td", look[n + 1], cell))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title },
    el("h3", {}, title), table(heads, drawn));
}

function differenceTable(differences, names) {
  const rows = differences.map((d) => row(d.key, d.values.map((value) => el("td", {}, value))));
  return rows.length ? table(columnHeads(["setting", ...names]), rows) : note("Their configurations are the same.");
}
