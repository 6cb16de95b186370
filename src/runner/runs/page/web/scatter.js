// A metric against a parameter: a point for each run, and the mean with its 95 % interval for each value.
"use strict";

const ASIDE = 16; // pixels from the points of a value to their mean, which would hide them
const JITTER = .16; // of the distance of two categories
const MOST_VALUES = 20; // of a parameter for which means are drawn
const FEWEST_RUNS = 3; // with a value for which a mean is drawn: the interval of two is too wide to say anything

// Returns a number between -1 and 1 that is always the same for a run.
const scattered = run => ((run * 2654435761 % 1000) / 500) - 1;

const scatter = {
  draw() {
    const metrics = selection.metrics;
    const parameters = selection.parameters;
    find("scatter-section").hidden = !metrics.length || !parameters.length;
    for (const select of document.querySelectorAll("select.metrics")) fill(select, metrics.map(name => [name]), metrics[0]);
    fill(find("parameter"), parameters.map(name => [name]), importance.order[0]);
    this.chart ??= new Chart(find("scatter"), "metric against parameter", () => this.options());
    this.chart.update();
  },

  options() {
    const [metric, key] = [chosen("metric"), chosen("parameter")];
    const runs = selection.runs.filter(run => isNumber(value(run, metric)) && !isMissing(value(run, key)));
    const results = runs.map(run => value(run, metric));
    const numeric = runs.every(run => isNumber(value(run, key)));
    const values = unique(runs.map(run => numeric ? value(run, key) : show(value(run, key)))).sort((a, b) => compareValues(a, b, false));
    const log = numeric && values.length > 0 && isLog(chosen("logx"), values);
    const place = run => numeric ? this.spread(value(run, key), run, values, log) : values.indexOf(show(value(run, key))) + JITTER * scattered(run);
    const groups = values.length <= MOST_VALUES ? values.map((each, index) => ({x: numeric ? each : index + JITTER,
      ...statistics(runs.filter(run => (numeric ? value(run, key) : show(value(run, key))) === each).map(run => value(run, metric)))})) : [];
    find("scatter-note").textContent = groups.some(group => group.n >= FEWEST_RUNS)
      ? "Bars: mean and 95 % interval of the mean over at least three runs with the same value, beside their points, which are spread sideways." : "";
    const pad = log ? Math.max(1.3, (values.at(-1) / values[0]) ** .06) : (values.at(-1) - values[0]) * .06 || .5;
    const ends = !numeric ? {min: -.6, max: values.length - .4} : log ? {min: values[0] / pad, max: values.at(-1) * pad}
      : {min: values[0] - pad, max: values.at(-1) + pad};
    const label = numeric ? show : index => cut(values[index] ?? "", 24);
    const ticks = values.length > MOST_VALUES ? undefined : numeric ? values : values.map((_, index) => index);
    return {
      xAxis: axis(key, {type: log ? "log" : "value", ...ends, splitLine: {show: false},
        axisLabel: {color: color("soft"), hideOverlap: true, formatter: label, customValues: ticks}, axisTick: {customValues: ticks}}),
      yAxis: metricAxis(metric, results),
      series: [points(runs, run => [place(run), value(run, metric)]), ...this.intervals(groups, logFloor(results) ?? -Infinity)],
    };
  },

  // Spreads the points of runs that share a value of a numeric parameter.
  spread(x, run, values, log) {
    if (values.length > MOST_VALUES) return x;
    if (log) return x * (values.at(-1) / values[0] || 1) ** (.008 * scattered(run));
    return x + (values.at(-1) - values[0]) * .008 * scattered(run);
  },

  // Args: groups with x and the statistics of their runs, and the lowest value of the axis.
  intervals(groups, floor) {
    const found = groups.filter(group => group.n >= FEWEST_RUNS);
    const bar = (_, api) => {
      const [x, low, high, mean] = [0, 1, 2, 3].map(i => api.value(i));
      const [top, bottom, middle] = [high, low, mean].map(y => api.coord([x, y])).map(([px, py]) => [px + ASIDE, py]);
      const line = (x1, y1, x2, y2) => ({type: "line", shape: {x1, y1, x2, y2}, style: {stroke: color("text"), lineWidth: 2}});
      return {type: "group", children: [line(top[0], top[1], bottom[0], bottom[1]), line(top[0] - 6, top[1], top[0] + 6, top[1]),
        line(bottom[0] - 6, bottom[1], bottom[0] + 6, bottom[1]),
        {type: "circle", shape: {cx: middle[0], cy: middle[1], r: 4.5}, style: {fill: color("back"), stroke: color("text"), lineWidth: 2}}]};
    };
    return [{type: "custom", silent: true, z: 5, renderItem: bar, encode: {x: 0, y: [1, 2]},
      clip: true, data: found.map(({x, mean, half}) => [x, Math.max(mean - half, floor), mean + half, mean])}];
  },
};

// Returns a series with a point for each run; a click ticks the run.
function points(runs, place) {
  return {
    type: "scatter", symbolSize: runs.length > 300 ? 5 : 8, z: 3,
    data: runs.map(run => ({value: place(run), run, itemStyle: {color: color(ticked.has(run) ? "c1" : "c0"), opacity: ticked.has(run) ? 1 : .6}})),
    tooltip: {formatter: item => tip(describe(item.data.run))},
  };
}

// Returns the name, the metrics and the main parameters of a run, one a line.
function describe(run) {
  const columns = [...selection.metrics, ...selection.mainKeys.slice(0, 8), "seconds"].filter(name => !isMissing(value(run, name)));
  return [data.runs[run].name, ...columns.map(name => `${name}: ${show(value(run, name))}`)].join("\n");
}
