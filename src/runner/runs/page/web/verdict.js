// The verdict in words, and the groups with their differences from the best one.
"use strict";

const SHOWN_GROUPS = 10;
const VERDICTS = {
  best: "best", worse: "worse", indistinguishable: "cannot be told apart", undecided: "undecided", diverged: "diverged",
};

const capital = text => text.charAt(0).toUpperCase() + text.slice(1);

const verdict = {
  all: false,

  draw() {
    const own = data.verdicts.filter(each => each.dataset === selection.dataset);
    const parts = own.length ? own.flatMap(each => this.one(each)) : [element("p", {class: "sentence"}, this.order())];
    find("verdict").replaceChildren(element("h2", {}, "Verdict"), ...parts);
  },

  // Without repeated runs there is no verdict, only a ranking.
  order() {
    const metric = selection.metrics[0];
    const done = selection.all.filter(run => isDone(run) && isNumber(value(run, metric)));
    if (!done.length) return selection.all.some(run => isNumber(value(run, metric))) ? "No run has completed yet." : "No run has a metric yet.";
    const sign = higherIsBetter(metric) ? -1 : 1;
    const best = done.reduce((a, b) => sign * value(b, metric) < sign * value(a, metric) ? b : a);
    const text = `${data.runs[best].name} has the best ${metric.replace(/^best /, "")}: ${show(value(best, metric))}.`;
    return done.length === 1 ? text : `${text} A ranking, not a verdict: repeat runs with other seeds to tell a difference from noise.`;
  },

  one(found) {
    const sentence = element("p", {class: "sentence"}, ...breakable(this.sentence(found), /(?<=,)/));
    const notes = found.notes.length ? [element("p", {class: "note"}, `${capital(found.notes.join("; "))}.`)] : [];
    if (found.groups.length < 2) return [sentence, ...notes];
    const groups = this.all ? found.groups : found.groups.slice(0, SHOWN_GROUPS);
    const scale = this.scale(groups);
    const tested = found.groups.some(group => !isMissing(group.difference)); // not if each group has a single run
    const rows = groups.map(group => element("tr", {},
      element("td", {class: "group"}, this.label(group.values)),
      element("td", {class: "number"}, show(group.n)), element("td", {class: "number"}, show(group.mean)),
      ...(tested ? [element("td", {}, this.interval(group, scale)),
        element("td", {class: "number"}, isMissing(group.difference) ? "" : signed(group.difference)),
        element("td", {class: "number"}, isMissing(group.p) ? "" : group.p < 0.001 ? "< 0.001" : show(Number(group.p.toPrecision(2))))] : []),
      element("td", {class: {best: "good", diverged: "bad"}[group.verdict]}, VERDICTS[group.verdict] ?? group.verdict ?? "")));
    const heads = ["group", "n", `mean ${found.metric}`, ...(tested ? ["behind the best, with interval", "", "p"] : []), "verdict"];
    const head = element("tr", {}, ...heads.map((text, i) => element("th", {scope: "col", class: [1, 2].includes(i) || text === "p" ? "number" : null}, text)));
    const parts = [sentence, ...notes, element("div", {class: "scroll"},
      element("table", {class: "compact"}, element("thead", {}, head), element("tbody", {}, ...rows)))];
    if (found.groups.length > SHOWN_GROUPS) {
      const more = element("button", {type: "button"}, this.all ? "Fewer groups" : `All ${found.groups.length} groups`);
      more.onclick = () => { this.all = !this.all; this.draw(); };
      parts.push(element("p", {class: "controls"}, more));
    }
    return parts;
  },

  // The best group, and how many others are worse or cannot be told apart from it; the table has their names.
  sentence(found) {
    const count = word => found.groups.filter(group => group.verdict === word).length;
    const few = count("best") + count("undecided") < found.groups.length ? count("undecided") : 0; // if others are compared
    const groups = (n, words) => n ? [`${counted(n, "group")} ${words[n === 1 ? 0 : 1]}`] : [];
    const others = [
      ...groups(count("worse"), ["is worse", "are worse"]),
      ...groups(count("indistinguishable"), ["cannot be told apart from it", "cannot be told apart from it"]),
      ...groups(few, ["has too few completed runs to be compared", "have too few completed runs to be compared"]),
      ...groups(count("diverged"), ["diverged and is not compared", "diverged and are not compared"]),
    ];
    return [found.best, ...others].filter(Boolean).map(capital).join(". ") + ".";
  },

  label(values) {
    const keys = Object.keys(values);
    return keys.map(key => `${shortKey(key, keys)}=${show(values[key]) || "null"}`).join(" ") || "all runs";
  },

  scale(groups) {
    const ends = groups.flatMap(group => [...(group.difference_interval || []), group.difference ?? 0]).filter(isNumber);
    const [low, high] = extent([...ends, 0]);
    return x => high === low ? 120 : 4 + (x - low) / (high - low) * 232;
  },

  interval(group, scale) {
    const box = drawing("svg", {class: "interval", viewBox: "0 0 240 18", "aria-hidden": "true"});
    box.append(drawing("line", {class: "zero", x1: scale(0), x2: scale(0), y1: 0, y2: 18}));
    const [low, high] = group.difference_interval || [];
    if (isNumber(low) && isNumber(high)) box.append(drawing("line", {x1: scale(low), x2: scale(high), y1: 9, y2: 9}));
    if (isNumber(group.difference) || group.verdict === "best") box.append(drawing("circle", {cx: scale(group.difference ?? 0), cy: 9, r: 4}));
    return box;
  },
};
