// The data of the page, and small functions that all other files use.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const find = id => document.getElementById(id);
const isNumber = value => typeof value === "number";
const isMissing = value => value === null || value === undefined;

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(key, "");
    else if (value !== false && !isMissing(value)) node.setAttribute(key, value);
  }
  node.append(...children); // strings become text nodes: no data is ever read as HTML
  return node;
}

function drawing(name, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Returns a value as in the table: four significant digits, all of an integer, nothing for a missing value.
function show(value) {
  if (isMissing(value)) return "";
  if (isNumber(value)) {
    if (Number.isSafeInteger(value)) return String(value);
    const rounded = Number(value.toPrecision(4));
    return Math.abs(value) < 1e9 ? String(rounded) : rounded.toExponential();
  }
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

// Returns a number as beside an axis, where there is little room.
function tick(value) {
  const text = show(value);
  return (text.length <= 7 ? text : Number(value.toPrecision(2)).toExponential()).replace("e+", "e");
}

const signed = value => (value > 0 ? "+" : "") + show(value);
const counted = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
const cut = (text, longest) => text.length <= longest ? text : "…" + text.slice(text.length - longest + 1);
// Cuts the name of a run, which often lists overrides, before a word if one begins soon: …lr=0.1,seed=1 for …im.lr=0.1,seed=1.
const cutName = (name, longest) => cut(name, longest).replace(/^…(?:[a-z_]*\.(?=[a-z])|[^,]{0,16},)/i, "…");

// Returns the parts of a text, between which it may be broken into lines.
const breakable = (text, after) => text.split(after).flatMap(part => [part, element("wbr")]).slice(0, -1);

const unique = values => [...new Set(values)];
const higherIsBetter = metric => data.higher.includes(metric);
const isDone = run => data.done.includes(data.runs[run].status);

// Returns the value of a run in a column, such as "optim.lr", "best val/loss" or "status".
function value(run, column) {
  if (column === "run") return data.runs[run].name;
  if (column === "status") return data.runs[run].status;
  return data.values[column] === undefined ? undefined : data.values[column][run];
}

const distinct = (runs, column) => unique(runs.map(run => show(value(run, column))));
const varies = (runs, column) => distinct(runs, column).length > 1;

// Compares two values for sorting: missing ones last, numbers by size, text in natural order.
function compareValues(left, right, down) {
  if (isMissing(left) || isMissing(right)) return isMissing(left) - isMissing(right);
  const order = isNumber(left) && isNumber(right) ? left - right
    : show(left).localeCompare(show(right), undefined, {numeric: true});
  return down ? -order : order;
}

// Quantiles of Student's t for a two-sided 95 % interval, by degrees of freedom from 1.
const T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12,
  2.11, 2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042];
const quantile = freedom => T95[freedom - 1] || 1.96 + 2.4 / freedom;

// Returns n, mean, sample standard deviation, and half the width of the 95 % interval of the mean.
function statistics(values) {
  const n = values.length;
  const mean = values.reduce((sum, x) => sum + x, 0) / n;
  if (n < 2) return {n, mean, std: null, half: null};
  const std = Math.sqrt(values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / (n - 1));
  return {n, mean, std, half: quantile(n - 1) * std / Math.sqrt(n)};
}

// Returns [lowest, highest] without spreading, which fails for large arrays.
function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const x of values) { if (x < low) low = x; if (x > high) high = x; }
  return [low, high];
}

// Whether positive values span at least a decade, so that a logarithmic axis is the better one.
function spansDecade(values) {
  const [low, high] = extent(values);
  return low > 0 && high / low >= 10;
}

// Whether an axis is logarithmic, by what was chosen for it: "auto", "log" or "linear".
const isLog = (choice, values) => extent(values)[0] > 0 && (choice === "log" || (choice === "auto" && spansDecade(values)));
