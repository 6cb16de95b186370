// How much of the variance of a metric each parameter explains by itself.
"use strict";

const FEWEST = 8; // runs below which shares mean little
const BINS = 5; // of a numeric parameter with more than 8 values

const importance = {
  order: [], // the main parameters, those that explain most first

  draw() {
    this.order = selection.mainKeys.filter(key => !data.repeats.includes(key));
    const metric = selection.metrics[0];
    const runs = selection.runs.filter(run => isNumber(value(run, metric)));
    const keys = selection.mainKeys.filter(key => varies(runs, key));
    find("importance-section").hidden = !metric || !selection.mainKeys.length;
    if (find("importance-section").hidden) return;
    if (runs.length < FEWEST || !keys.length) {
      find("importance").replaceChildren(element("p", {class: "note"}, `Needs at least ${FEWEST} runs with ${metric} that differ in a parameter.`));
      return;
    }
    const ranks = ranked(runs.map(run => value(run, metric)));
    const cells = new Map(keys.map(key => [key, bins(runs.map(run => value(run, key)))]));
    const single = keys.map(key => ({name: key, share: explained(ranks, cells.get(key))})).sort((a, b) => b.share - a.share);
    const share = key => single.find(each => each.name === key)?.share ?? 0;
    this.order.sort((a, b) => share(b) - share(a));
    this.table(metric, single.slice(0, 12), pairs(ranks, cells, single.slice(0, 6)));
  },

  table(metric, single, together) {
    const row = ({name, share}) => {
      const bar = element("span", {class: "bar"});
      bar.style.width = `${Math.round(share * 320)}px`;
      return element("tr", {}, element("td", {}, name), element("td", {class: "number"}, `${Math.round(share * 100)} %`), element("td", {}, bar));
    };
    const heads = ["parameter", "explains", ""].map((text, i) => element("th", {scope: "col", class: i === 1 ? "number" : null}, text));
    find("importance").replaceChildren(
      element("table", {class: "compact"}, element("thead", {}, element("tr", {}, ...heads)),
        element("tbody", {}, ...[...single, ...together].map(row))),
      element("p", {class: "note"}, `Share of the variance of the ranks of ${metric} that a parameter explains by itself, and that two explain `
        + `only together (×): adjusted R² of an analysis of variance; numeric parameters with more than 8 values are divided into ${BINS} bins of `
        + "equal size. It is reliable if parameters were varied independently, as in a grid or a random search, and not after a search that "
        + "prefers good values. A seed that explains much is a sign of chance."));
  },
};

// Returns the rank of each value, ties by their mean rank; ranks keep diverged runs from dominating.
function ranked(values) {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const ranks = new Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start;
    while (end < order.length && values[order[end]] === values[order[start]]) end++;
    for (let i = start; i < end; i++) ranks[order[i]] = (start + end - 1) / 2;
    start = end;
  }
  return ranks;
}

// Returns the category of each value.
function bins(values) {
  if (!values.every(isNumber) || new Set(values).size <= 8) return values.map(each => show(each));
  return ranked(values).map(rank => Math.floor(rank / values.length * BINS));
}

// Returns the adjusted R² of the categories, between 0 and 1.
function explained(values, categories) {
  const groups = new Map();
  values.forEach((each, i) => groups.set(categories[i], [...(groups.get(categories[i]) || []), each]));
  const [n, k] = [values.length, groups.size];
  const spread = found => { const {mean} = statistics(found); return found.reduce((sum, x) => sum + (x - mean) ** 2, 0); };
  const total = spread(values);
  if (n <= k || total === 0) return 0;
  const within = [...groups.values()].reduce((sum, found) => sum + spread(found), 0);
  return Math.max(0, 1 - within / (n - k) / (total / (n - 1)));
}

// Returns the pairs of parameters that explain at least 5 % more together than each by itself.
function pairs(ranks, cells, single) {
  const found = [];
  single.forEach((a, i) => single.slice(i + 1).forEach(b => {
    const both = cells.get(a.name).map((each, run) => `${each}\n${cells.get(b.name)[run]}`);
    const share = explained(ranks, both) - a.share - b.share;
    if (share >= .05) found.push({name: `${a.name} × ${b.name}`, share: Math.min(1, share)});
  }));
  return found.sort((a, b) => b.share - a.share).slice(0, 3);
}
