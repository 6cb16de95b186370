// Learning curves: mean and band of each group, single runs thin behind them, and a cursor that reads values.
"use strict";

const MOST_PLOTS = 4;

const curves = {
  plots: [], // one for each chosen metric
  groups: [],
  at: null, // x of the cursor

  get metrics() {
    return data.curveMetrics.filter(name => selection.all.some(run => data.curves[run] && data.curves[run].y[name]));
  },

  // The metrics that are drawn: those chosen, or the one that chose the best checkpoint and the first ones.
  get chosen() {
    const reader = state.get("curves", null);
    if (reader !== null) return this.metrics.filter(name => reader.split("|").includes(name));
    const first = selection.metrics.map(name => name.replace(/^best /, ""));
    return [...this.metrics].sort((a, b) => first.includes(b) - first.includes(a)).slice(0, 2);
  },

  draw() {
    find("curves-section").hidden = !this.metrics.length;
    if (!this.metrics.length) return;
    this.controls();
    const choice = chosen("group");
    const [axisName, smooth] = [chosen("axis"), Number(chosen("smooth"))];
    this.groups = groupsBy(choice);
    this.shownGroups = this.groups.slice(0, MOST_GROUPS);
    this.lines = new Map(this.chosen.map(metric => [metric, this.prepare(metric, axisName, smooth)]));
    this.replacePlots();
    this.note(choice);
    this.read();
  },

  // Returns the curves of all runs and the means of the shown groups.
  prepare(metric, axisName, smooth) {
    const runs = new Map(selection.runs.map(run => [run, curve(run, metric, axisName, smooth)]));
    const means = this.shownGroups.map(group => meanCurve(group.runs.map(run => runs.get(run)), chosen("band")));
    return {runs, means};
  },

  controls() {
    const options = [["repeats", "all but seed and fold"], ["run", "run (no mean)"], ...selection.parameters.map(key => [key])];
    fill(find("curve-group"), options, "repeats");
    const now = this.chosen;
    find("curve-metrics").replaceChildren(...this.metrics.map(name => {
      const box = element("input", {type: "checkbox", value: name});
      box.checked = now.includes(name);
      box.onchange = () => {
        const left = box.checked ? [...now, name].slice(-MOST_PLOTS) : now.filter(each => each !== name);
        state.set("curves", left.join("|"));
        find("curve-metrics").querySelector(`[value="${CSS.escape(name)}"]`)?.focus();
      };
      return element("label", {}, box, ` ${name} `);
    }));
  },

  replacePlots() {
    const names = this.chosen;
    if (this.plots.map(plot => plot.metric).join() !== names.join()) {
      for (const plot of this.plots) plot.remove();
      this.plots = names.map(metric => new CurvePlot(metric));
    } else for (const plot of this.plots) plot.update();
  },

  note(choice) {
    const hidden = this.groups.length - this.shownGroups.length;
    const missing = selection.runs.filter(run => !this.chosen.some(metric => this.lines.get(metric).runs.get(run).length)).length;
    const band = {std: "± the standard deviation of the runs", interval: "the 95 % interval of the mean (Student's t)"}[chosen("band")];
    find("curve-note").textContent = [
      hidden > 0 ? `Colors: the ${MOST_GROUPS} best of ${this.groups.length} groups; the others are gray.` : "",
      choice === "run" ? "" : "Thick: the mean of the runs that have reached x, while at least half of the group have.",
      band && choice !== "run" ? `Band: ${band}.` : "",
      missing ? `${counted(missing, "run")} without curves.` : "",
      "Point at a plot, or focus it and press ← or →, to read values.",
    ].join(" ").trim();
  },

  // Moves the cursor, and shows the values of all groups there, or the last ones without a cursor.
  read(x = null, nearest = "") {
    this.at = x;
    for (const plot of this.plots) plot.cursor(x);
    const names = this.chosen;
    const cell = (metric, index) => {
      const points = this.lines.get(metric).means[index];
      if (!points.length) return "";
      const y = x === null ? points.at(-1).mean : valueAt(points.map(point => [point.x, point.mean]), x);
      const half = x === null ? points.at(-1).half : valueAt(points.filter(p => p.half !== null).map(p => [p.x, p.half]), x);
      return y === null ? "" : show(y) + (isMissing(half) ? "" : ` ± ${show(half)}`);
    };
    const where = x === null ? "at the end" : `at ${chosen("axis")} ${show(x)}`;
    const head = element("tr", {}, element("th", {scope: "col"}, where), element("th", {scope: "col", class: "number"}, "n"),
      ...names.map(name => element("th", {scope: "col", class: "number"}, name)));
    const rows = this.shownGroups.map((group, index) => element("tr", {},
      element("td", {title: group.label}, this.swatch(index), cutName(group.label, 70)), element("td", {class: "number"}, String(group.runs.length)),
      ...names.map(name => element("td", {class: "number"}, cell(name, index)))));
    const last = nearest ? [element("tr", {}, element("td", {colspan: names.length + 2}, `nearest run: ${nearest}`))] : [];
    find("curve-values").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows, ...last));
  },

  swatch(index) {
    const box = element("span", {class: "swatch"});
    box.style.background = `var(--c${index % 8})`;
    return box;
  },
};
