// Parallel coordinates: a line for each run through its parameters and the metric.
"use strict";

const MOST_AXES = 7;
const SCALE = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]; // viridis, which color-blind readers can order

const parallel = {
  draw() {
    const keys = this.keys;
    find("parallel-section").hidden = !selection.metrics.length || keys.length < 2;
    if (find("parallel-section").hidden) return;
    this.chart ??= new Chart(find("parallel"), "parallel coordinates of parameters and metric", () => this.options());
    this.chart.update();
  },

  get keys() { return importance.order.slice(0, MOST_AXES); },

  options() {
    const metric = chosen("metric") || selection.metrics[0];
    const runs = selection.runs.filter(run => isNumber(value(run, metric)));
    const sign = higherIsBetter(metric) ? 1 : -1;
    runs.sort((a, b) => sign * (value(a, metric) - value(b, metric))); // the best ones on top
    const columns = [...[...this.keys].reverse(), metric]; // the most important one beside the metric
    const axes = columns.map((name, dim) => this.axis(name, dim, runs));
    const [low, high] = extent(runs.map(run => value(run, metric)));
    const lines = runs.map(run => ({value: columns.map((name, dim) => axes[dim].type === "category" ? show(value(run, name)) : value(run, name)), run}));
    const dark = !charts.printing && matchMedia("(prefers-color-scheme: dark)").matches;
    const scale = dark ? ["#6a4c93", ...SCALE.slice(1)] : [...SCALE.slice(0, 4), "#c9b000"];
    return {
      parallel: {left: 60, right: 110, top: 50, bottom: 24, parallelAxisDefault: {
        nameLocation: "end", nameTextStyle: {color: color("text"), fontSize: 12},
        axisLabel: {color: color("text"), backgroundColor: color("back"), padding: [1, 2]}, axisLine: {lineStyle: {color: color("soft")}},
        axisTick: {lineStyle: {color: color("soft")}}, areaSelectStyle: {width: 18, color: color("c5"), opacity: .3, borderColor: color("c0")},
      }},
      parallelAxis: axes,
      visualMap: {show: false, dimension: columns.length - 1, min: low, max: high === low ? low + 1 : high,
        inRange: {color: higherIsBetter(metric) ? scale : [...scale].reverse()}},
      tooltip: {show: false},
      series: [{type: "parallel", data: lines, lineStyle: {width: 1.3, opacity: Math.max(.12, Math.min(.8, 60 / runs.length))},
        inactiveOpacity: .02, activeOpacity: .8, progressive: 0}],
    };
  },

  axis(name, dim, runs) {
    const values = runs.map(run => value(run, name)).filter(each => !isMissing(each));
    const label = name.length > 20 ? `…${name.slice(-19)}` : name;
    const few = dim < this.keys.length && new Set(values).size <= 8; // evenly spaced, and all labelled
    if (few || !values.every(isNumber) || values.length < runs.length) {
      const order = unique(values).sort((a, b) => compareValues(a, b, false)).map(show);
      if (values.length < runs.length) order.push("");
      return {dim, name: label, type: "category", data: unique(order), axisLabel: {interval: 0}};
    }
    const [low, high] = extent(values);
    if (spansDecade(values)) return {dim, name: label, type: "log", min: low, max: high, axisLabel: {formatter: tick}};
    return {dim, name: label, type: "value", min: low, max: high === low ? low + 1 : high, axisLabel: {formatter: tick}};
  },
};
