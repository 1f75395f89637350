// One rollout to read: what the model wrote, called and got back; its tokens coloured by entropy if wanted.

const errors = ["exception", "time_limit", "memory_limit", "malformed", "unknown_tool", "bad_arguments"];
const speakers = {
  text: "model",
  code: "model calls a tool",
  "bad call": "model tries to call a tool",
  result: "result",
};
const HOT_NATS = 2; // entropy of the strongest colour, and of all above
let isColoured = false;

function conversation(c) {
  const answer = c.answer === null ? "no answer" : `answer ${c.answer}`;
  const penalties =
    c.error_penalty === null
      ? []
      : [`p_err ${written(c.error_penalty)}`, `p_format ${written(c.format_penalty)}`];
  return el(
    "div",
    {},
    el("h3", {}, verdict(c), ` \u00b7 ${answer}, expected ${c.expected}`),
    el(
      "p",
      { class: "note" },
      [`${c.phase}, step ${c.step}`, c.task, about(c), ...penalties, c.ending, ""].join(" \u00b7 "),
      el("a", { href: linkTo(wanted.run, c) }, "link"),
    ),
    el("div", { class: "question" }, c.question),
    ...(isColoured ? [legend(c)] : []),
    ...c.parts.flatMap((p, n) => part(c, p, n)),
  );
}

// With colours, a turn is shown once and as it was sampled, in place of the parts it was split into.
function part(c, p, n) {
  const scored = isColoured && p.kind !== "result" ? c.tokens[p.turn] : undefined;
  if (scored && c.parts.findIndex((other) => other.turn === p.turn) < n) return [];
  const failed = errors.includes(p.status) && p.kind !== "code";
  const status = p.status && p.status !== "ok" && !scored ? ` (${p.status.replaceAll("_", " ")})` : "";
  const body = scored
    ? tokens(scored)
    : p.kind === "text"
      ? el("p", {}, p.text)
      : el("pre", {}, p.text || "(nothing)");
  return [
    el(
      "div",
      { class: failed ? "part failed" : "part" },
      el("h4", {}, (scored ? "model" : speakers[p.kind]) + status),
      body,
    ),
  ];
}

function tokens(scored) {
  const shown = scored.pieces.map((piece, n) => {
    const nats = scored.entropies_nats[n],
      kind = scored.kinds[n];
    return el(
      "span",
      {
        class: kind ? "token uncertain" : "token",
        title: `${nats.toFixed(2)} nats${kind ? `, ${kind}` : ""}`,
        style: heat(nats),
      },
      piece.replaceAll("\n", "\u21b5\n"),
    );
  });
  return el("pre", { class: "tokens" }, ...shown);
}

// By the square root: most tokens are nearly certain, and a tenth of a nat is to be seen.
const heat = (nats) =>
  `background: rgba(var(--warm), ${(Math.sqrt(Math.min(1, nats / HOT_NATS)) * 0.75).toFixed(2)})`;

function legend(c) {
  if (!c.tokens.length) return note("Entropies of this rollout are not known: rstar2 analyze computes them.");
  return el(
    "p",
    { class: "note legend" },
    "nats: ",
    ...[0.02, 0.1, 0.5, 1, HOT_NATS].map((nats) =>
      el("span", { class: "token sample", style: heat(nats) }, String(nats)),
    ),
    " Underlined: the uncertain fifth. Point at a token to read it.",
  );
}

function entropyToggle() {
  const box = el("input", { type: "checkbox", id: "entropy" });
  box.checked = isColoured;
  box.addEventListener("change", () => {
    isColoured = box.checked;
    drawRollouts();
  });
  return el("label", { for: "entropy" }, box, "colour by entropy");
}
