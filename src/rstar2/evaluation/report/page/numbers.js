// Numbers as a person reads them, and the ticks of an axis.

const percent = (share, digits = 1) => (share * 100).toFixed(digits) + "%";
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const seconds = (value) => `${value.toFixed(value >= 100 ? 0 : value >= 1 ? 1 : 2)} s`;
const sum = (values) => values.reduce((total, value) => total + value, 0);

function written(value, format) {
  if (format === "share") return percent(value);
  const size = Math.abs(value);
  if (size !== 0 && size < 0.001) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

function tickStep(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= rough * (1 - 1e-9));
}

function ticks(low, high, step) {
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) found.push(n * step);
  return found;
}

function tickText(value, step, format) {
  if (format === "share") return percent(value, step < 0.01 ? 1 : 0);
  if (step < 0.001 && value !== 0) return value.toExponential(0);
  return value.toFixed(value === 0 ? 0 : Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
}
