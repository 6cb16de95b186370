// Groups of runs, and the mean and band of their curves.
"use strict";

const MOST_GROUPS = 8; // groups that are drawn in color

// Returns the groups of the selected runs, the best first: {label, runs, best}.
function groupsBy(choice) {
  const keys = choice === "repeats" ? selection.keys.filter(key => !data.repeats.includes(key))
    : choice === "run" ? ["run"] : [choice];
  const found = new Map();
  for (const run of selection.runs) {
    const name = keys.map(key => show(value(run, key))).join("\n");
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(run);
  }
  const groups = [...found.values()];
  const named = keys.filter(key => choice !== "repeats" || data.main.includes(key))
    .filter(key => new Set(groups.map(runs => show(value(runs[0], key)))).size > 1);
  const metric = selection.metrics[0];
  const sign = higherIsBetter(metric) ? -1 : 1;
  const score = runs => {
    const values = runs.filter(isDone).map(run => value(run, metric)).filter(isNumber);
    return values.length ? sign * statistics(values).mean : Infinity;
  };
  return groups.map(runs => ({label: groupLabel(runs[0], named, choice), runs, best: score(runs)})).sort((a, b) => a.best - b.best || 0);
}

// Returns the values of a group; its keys are shortened if that is unambiguous: lr=0.1 for optim.lr=0.1.
function groupLabel(run, keys, choice) {
  if (choice === "run") return data.runs[run].name;
  return keys.map(key => `${shortKey(key, keys)}=${show(value(run, key)) || "null"}`).join(" ") || "all runs";
}

// Returns the end of a key if that is unambiguous among others: lr for optim.lr, and optim for optim.name.
function shortKey(key, keys) {
  const [end, parent] = key.split(".").reverse();
  if (end === "name") return parent ?? key;
  return keys.filter(each => each.split(".").at(-1) === end).length > 1 ? key : end;
}

// Returns the points [x, y] of a run's curve, smoothed by an exponential moving average.
function curve(run, metric, axisName, smooth) {
  const found = data.curves[run];
  if (!found || !found.y[metric] || !found.x[axisName]) return [];
  const points = [];
  let [average, weight] = [0, 0];
  found.y[metric].forEach((y, i) => {
    const x = found.x[axisName][i];
    if (y === null || isMissing(x)) return;
    average = smooth * average + (1 - smooth) * y;
    weight = smooth * weight + 1 - smooth; // corrects the start, at which the average is biased to 0
    points.push([x, average / weight]);
  });
  return points;
}

// Returns the value of a curve at x by linear interpolation, or null outside of the curve.
function valueAt(points, x) {
  if (!points.length || x < points[0][0] || x > points.at(-1)[0]) return null;
  let [low, high] = [0, points.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (points[middle][0] <= x) low = middle; else high = middle;
  }
  const [[x0, y0], [x1, y1]] = [points[low], points[high]];
  return x1 === x0 ? y1 : y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

// Returns points {x, n, mean, half} of a group: the mean of the runs that have reached x, while at least half of them have.
function meanCurve(curves, band) {
  const drawn = curves.filter(points => points.length);
  let xs = unique(drawn.flatMap(points => points.map(point => point[0]))).sort((a, b) => a - b);
  if (xs.length > 200) {
    const [low, high] = [xs[0], xs.at(-1)];
    xs = Array.from({length: 101}, (_, i) => low + (high - low) * i / 100);
  }
  return xs.map(x => {
    const found = statistics(drawn.map(points => valueAt(points, x)).filter(isNumber));
    const half = band === "std" ? found.std : band === "interval" ? found.half : null;
    return {x, n: found.n, mean: found.mean, half};
  }).filter(point => point.n > 0 && point.n >= drawn.length / 2);
}
