// Draws the page, and again whenever a live run has gone on.

const page = JSON.parse(at("data").textContent);
let runs = page.runs; // by number: parts by name, as run_parts.py makes them
const POLL_MS = 2000;

// The run's folder; several of the same name are numbered.
function nameOf(number) {
  const name = runs[number].about.name;
  const before = runs.slice(0, number).filter((run) => run.about.name === name).length;
  return before ? `${name} (${before + 1})` : name;
}

// For sections that show one run at a time; `place` is where in it they are.
const runChoice = (state, redraw) =>
  choose("run", Object.fromEntries(runs.map((_, n) => [nameOf(n), n])), state.run, (run) => {
    Object.assign(state, { run, place: null });
    redraw();
  });

function draw() {
  const hasBegun = runs.every((run) => run.about);
  at("waiting").hidden = hasBegun;
  document.querySelector("main").hidden = document.querySelector("nav").hidden = !hasBegun;
  if (!hasBegun) return;
  const captions = runs.map((_, number) => (runs.length > 1 ? nameOf(number) : ""));
  show(
    at("subtitles"),
    runs.map((run, n) => [
      String(n),
      [captions[n], run.about.subtitle],
      ([name, subtitle]) => el("p", { class: "subtitle" }, name ? `${name}: ${subtitle}` : subtitle),
    ]),
  );
  show(
    at("differences"),
    runs.length > 1 ? [["table", page.head.differences, (found) => differenceTable(found, captions)]] : [],
  );
  at("comparison").hidden = runs.length < 2;
  show(at("phases"), [["table", runs.map((run) => run.phases), () => phaseTable(runs)]]);
  show(
    at("tasks"),
    runs.map((run, n) => [
      String(n),
      [run.tasks, captions[n]],
      ([tasks, caption]) => taskTable(tasks, caption),
    ]),
  );
  const behaviour = runs.flatMap((run, n) =>
    run.behaviour.map((found) => ({
      ...found,
      title: [captions[n], found.title].filter(Boolean).join(": "),
    })),
  );
  at("behaviour").hidden = at("behaviour-link").hidden = !behaviour.length;
  show(
    at("behaviour-tables"),
    behaviour.map((found) => [found.title, found, textTable]),
  );
  show(
    at("curves"),
    sharedCharts(runs).map((chart) => [chart.title, chart, figure]),
  );
  show(
    at("configs"),
    runs.map((run, n) => [
      String(n),
      run.about.config,
      (config) => el("details", {}, el("summary", {}, `Configuration ${captions[n]}`), el("pre", {}, config)),
    ]),
  );
  drawAnatomy();
  drawGroups();
  drawRollouts();
}

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input[type=search], select, textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    event.preventDefault();
    at("search").focus();
  }
  if (event.key === "e") at("entropy")?.click();
});
at("list").addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
  if (by) {
    event.preventDefault();
    step(by);
  }
});
window.addEventListener("hashchange", openLink);
window.addEventListener("resize", drawAnatomyIfBegun);
function drawAnatomyIfBegun() {
  if (runs.every((run) => run.about)) drawAnatomy();
}

// Asks for the parts that changed; `digests` are those of the parts that this page has.
async function poll(digests) {
  const answer = await changes(digests);
  at("live").textContent = answer ? "live" : "rstar2 view does not answer; what it showed last stays here";
  if (answer && JSON.stringify(answer.digests) !== JSON.stringify(digests)) take(answer);
  setTimeout(() => poll(answer?.digests ?? digests), POLL_MS);
}

async function changes(digests) {
  try {
    const reply = await fetch("changes", { method: "POST", body: Object.values(digests).join(",") });
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}

function take({ digests, changed }) {
  const isFirst = !runs[0].about;
  const part = (name) => [name, changed[name] ?? runs[0][name]];
  runs = [Object.fromEntries(Object.keys(digests).map(part))];
  draw();
  if (isFirst) openLink();
}

draw();
openLink();
if (page.head.live) poll({});
