// A plot of ECharts in a figure. It is drawn when it comes into view, in the colors of the page.
"use strict";

const GRID = {left: 64, right: 18, top: 14, bottom: 44};

// Returns a color of the style sheet, which depends on dark mode.
const color = name => (charts.printing ? charts.light[name] : null)
  ?? getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const groupColor = index => color(`c${index % 8}`);

class Chart {
  // Args: an empty element, a label for screen readers, and a function that returns the options of ECharts.
  constructor(parent, label, options) {
    this.canvas = element("div", {class: "chart", role: "img", "aria-label": label});
    this.figure = element("figure", {}, this.canvas);
    parent.append(this.figure);
    [this.options, this.visible, this.stale] = [options, false, true];
    charts.all.push(this);
    charts.observer.observe(this.figure);
    this.figure.chart = this;
  }

  update() { this.stale = true; if (this.visible) this.draw(); }

  draw() {
    if (!this.stale || !this.canvas.clientWidth) return;
    this.stale = false;
    this.plot ??= echarts.init(this.canvas);
    this.plot.setOption({...common(), ...this.options()}, {notMerge: true});
  }

  remove() {
    charts.observer.unobserve(this.figure);
    charts.all = charts.all.filter(each => each !== this);
    if (this.plot) this.plot.dispose();
    this.figure.remove();
  }
}

const charts = {
  all: [],
  printing: false,
  light: {text: "#000000", soft: "#444444", line: "#bbbbbb", thin: "#8a939d", back: "#ffffff", c0: "#0072b2", c1: "#d55e00",
    c2: "#009e73", c3: "#aa4a86", c4: "#b58900", c5: "#3aa0d8", c6: "#6b4fbb", c7: "#8c5a3c"},
  observer: new IntersectionObserver(entries => {
    for (const entry of entries) {
      const chart = entry.target.chart;
      chart.visible = entry.isIntersecting;
      if (chart.visible) chart.draw();
    }
  }, {rootMargin: "300px"}),

  update() { for (const chart of this.all) chart.update(); },
  resize() { for (const chart of this.all) if (chart.plot) chart.plot.resize(); },
  print(on) {
    this.printing = on;
    for (const chart of this.all) { chart.stale = true; chart.draw(); }
  },
};

// Options that all plots share.
function common() {
  return {
    animation: false, backgroundColor: "transparent", textStyle: {color: color("text"), fontFamily: "system-ui, sans-serif"},
    grid: GRID, tooltip: {confine: true, backgroundColor: "#ffffffee", borderColor: color("line")},
  };
}

function axis(name, more = {}) {
  return {
    name, nameLocation: "middle", nameGap: 26, nameTextStyle: {color: color("soft")}, scale: true,
    axisLabel: {color: color("soft"), hideOverlap: true, formatter: more.type === "category" ? undefined : tick},
    axisLine: {show: true, onZero: false, lineStyle: {color: color("line")}}, splitLine: {lineStyle: {color: color("line"), opacity: .5}},
    ...more,
  };
}

const verticalAxis = (name, more = {}) => axis(name, {nameGap: 46, ...more});

// Returns the lowest value of the axis of a metric if it is logarithmic, or null. It is if the values span two decades.
function logFloor(values) {
  const [low, high] = extent(values);
  return low > 0 && high / low >= 100 ? low / 1.5 : null;
}

function metricAxis(name, values) {
  const floor = logFloor(values);
  return verticalAxis(name, floor === null ? {type: "value"} : logAxis(floor, extent(values)[1] * 1.5));
}

// Returns the ticks 1, 2, 5, 10, ... of a logarithmic axis, or only powers of ten if those are enough, at most nine.
function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const digit of [1, 2, 5]) found.push(Number((digit * 10 ** power).toPrecision(1)));
  }
  const inside = found.filter(x => x >= low && x <= high);
  if (inside.length <= 9) return inside;
  const powers = inside.filter(x => Number.isInteger(Math.round(Math.log10(x) * 1e6) / 1e6));
  const step = Math.ceil(powers.length / 9);
  return powers.filter((_, index) => index % step === 0);
}

function logAxis(min, max) {
  const ticks = {customValues: logTicks(min, max)};
  return {type: "log", min, max, axisTick: ticks, splitLine: {show: false},
    axisLabel: {color: color("soft"), formatter: tick, ...ticks}};
}

// A tooltip as an element with text only.
const tip = text => element("div", {class: "tip"}, text);

addEventListener("resize", () => charts.resize());
addEventListener("beforeprint", () => { table.rows = Infinity; table.paint(); charts.print(true); });
addEventListener("afterprint", () => { table.rows = ROWS; table.paint(); charts.print(false); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.update());
