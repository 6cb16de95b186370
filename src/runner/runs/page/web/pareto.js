// The Pareto front of a metric against seconds or parameters: the runs that no other run beats in both.
"use strict";

// Returns the runs of the front, the cheapest first.
function paretoFront(runs, cost, metric) {
  const sign = higherIsBetter(metric) ? -1 : 1;
  const order = [...runs].sort((a, b) => value(a, cost) - value(b, cost) || sign * (value(a, metric) - value(b, metric)));
  const front = [];
  for (const run of order) {
    if (!front.length || sign * value(run, metric) < sign * value(front.at(-1), metric)) front.push(run);
  }
  return front;
}

const pareto = {
  draw() {
    find("pareto-section").hidden = !selection.metrics.length;
    if (!selection.metrics.length) return;
    this.chart ??= new Chart(find("pareto"), "Pareto front", () => this.options());
    this.chart.update();
    this.describe();
  },

  get front() {
    const [cost, metric] = [chosen("cost"), chosen("metric")];
    const runs = selection.runs.filter(run => isDone(run) && isNumber(value(run, cost)) && isNumber(value(run, metric)));
    return {cost, metric, runs, front: paretoFront(runs, cost, metric)};
  },

  options() {
    const {cost, metric, runs, front} = this.front;
    const log = spansDecade(runs.map(run => value(run, cost)));
    const place = run => [value(run, cost), value(run, metric)];
    const line = {type: "line", step: "end", symbol: "diamond", symbolSize: 11, z: 4, silent: true, data: front.map(place),
      lineStyle: {color: color("c1"), width: 2}, itemStyle: {color: color("c1")}};
    return {xAxis: axis(cost, {type: log ? "log" : "value"}), yAxis: metricAxis(metric, runs.map(run => value(run, metric))), series: [points(runs, place), line]};
  },

  describe() {
    const {cost, metric, front} = this.front;
    const names = front.slice(0, 6).map(run => {
      const link = element("button", {type: "button", class: "link", title: `Tick ${data.runs[run].name}`}, `${cutName(data.runs[run].name, 40)}: ${show(value(run, metric))}, ${show(value(run, cost))} ${cost}`);
      link.onclick = () => ticked.toggle(run);
      return link;
    });
    const more = front.length > names.length ? ` and ${front.length - names.length} more` : "";
    find("pareto-note").replaceChildren(
      front.length ? `${counted(front.length, "completed run")} on the front: no other is both better and cheaper. ` : "No completed run to show.",
      ...names.flatMap((each, i) => i ? ["; ", each] : [each]), more ? `;${more}` : "");
  },
};
