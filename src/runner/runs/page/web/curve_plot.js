// The plot of one metric's learning curves.
"use strict";

class CurvePlot extends Chart {
  constructor(metric) {
    super(find("curves"), `${metric} of the runs; the table below has the values`, () => this.all());
    this.metric = metric;
    this.figure.prepend(element("figcaption", {}, metric));
    this.figure.dataset.metric = metric;
    this.canvas.tabIndex = 0;
    this.line = element("div", {class: "cursor", hidden: true});
    this.figure.append(this.line);
    this.canvas.addEventListener("mousemove", event => this.point(event.offsetX, event.offsetY));
    this.canvas.addEventListener("mouseleave", () => curves.read());
    this.canvas.addEventListener("click", event => {
      const nearest = this.nearest(this.xAt(event.offsetX), event.offsetY);
      if (nearest !== null) ticked.toggle(nearest);
    });
    this.canvas.addEventListener("keydown", event => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (!step || !this.range) return;
      event.preventDefault();
      const [low, high] = this.range;
      curves.read(Math.min(high, Math.max(low, (curves.at ?? low) + step * (high - low) / 50)));
    });
  }

  get found() { return curves.lines.get(this.metric); }

  all() {
    const {runs, means} = this.found;
    const lines = [...runs.values()].filter(points => points.length);
    this.range = extent(lines.flatMap(points => [points[0][0], points.at(-1)[0]]));
    if (this.range[0] === this.range[1]) this.range = [this.range[0] - .5, this.range[1] + .5];
    const ys = lines.flatMap(points => points.map(point => point[1]));
    const log = isLog(chosen("logy"), chosen("logy") === "log" ? ys.filter(y => y > 0) : ys);
    let [bottom, top] = extent(log ? ys.filter(y => y > 0) : ys);
    if (bottom === top) [bottom, top] = log ? [bottom / 2, top * 2] : [bottom - .5, top + .5];
    return {
      tooltip: {show: false},
      xAxis: axis(chosen("axis"), {type: "value", min: this.range[0], max: this.range[1],
        minInterval: chosen("axis") === "seconds" ? 0 : 1}),
      yAxis: verticalAxis("", log ? logAxis(bottom / 1.1, top * 1.1)
        : {type: "value", min: niceBelow(bottom, top), max: niceAbove(bottom, top)}),
      series: [...this.singles(runs, log), ...means.flatMap((points, index) => this.group(points, index, log))],
    };
  }

  // All single runs in one series, which is much faster than a series for each; runs with one point in another.
  singles(runs, log) {
    const colors = new Map(curves.shownGroups.flatMap((group, index) => group.runs.map(run => [run, groupColor(index)])));
    const alone = chosen("group") === "run";
    const drawn = [...runs].filter(([run, points]) => points.length && (chosen("single") || alone || ticked.has(run)));
    const opacity = alone ? .9 : Math.max(.12, Math.min(.45, 12 / drawn.length));
    const style = run => ({
      color: colors.get(run) ?? color("thin"), width: ticked.has(run) ? 3 : alone ? 1.6 : 1,
      opacity: ticked.has(run) ? 1 : colors.has(run) ? Math.max(opacity, .3) : opacity,
    });
    const order = drawn.sort(([a], [b]) => colors.has(a) - colors.has(b) || ticked.has(a) - ticked.has(b));
    const items = order.map(([run, points]) => ({coords: log ? points.filter(point => point[1] > 0) : points, lineStyle: style(run)}));
    const dots = items.filter(({coords}) => coords.length === 1).map(({coords, lineStyle: {color, opacity}}) => (
      {value: coords[0], itemStyle: {color, opacity}}));
    const long = items.filter(({coords}) => coords.length > 1);
    return [{type: "lines", coordinateSystem: "cartesian2d", polyline: true, silent: true, data: long, z: 2},
      {type: "scatter", symbolSize: 6, silent: true, data: dots, z: 2}];
  }

  // The mean of a group as a line, and its band as a polygon.
  group(points, index, log) {
    if (!points.length || chosen("group") === "run") return [];
    const band = points.filter(point => point.half !== null);
    const below = p => log ? Math.max(p.mean - p.half, p.mean / 1e6) : p.mean - p.half; // at most to the edge of a logarithmic plot
    const edge = [...band.map(p => [p.x, p.mean + p.half]), ...band.map(p => [p.x, below(p)]).reverse()];
    const area = {
      type: "custom", silent: true, data: band.length > 1 ? [0] : [], z: 3, clip: true, coordinateSystem: "cartesian2d",
      renderItem: (_, api) => ({type: "polygon", shape: {points: edge.map(point => api.coord(point))},
        style: {fill: groupColor(index), opacity: .16}}),
    };
    const line = {
      type: "line", silent: true, z: 4, data: points.map(point => [point.x, point.mean]),
      showSymbol: points.length === 1, itemStyle: {color: groupColor(index)}, lineStyle: {color: groupColor(index), width: 2.4},
    };
    return [area, line];
  }

  xAt(pixel) { return this.plot ? this.plot.convertFromPixel({gridIndex: 0}, [pixel, 50])[0] : null; }

  point(px, py) {
    const x = this.xAt(px);
    if (x === null || x < this.range[0] || x > this.range[1]) { curves.read(); return; }
    const run = this.nearest(x, py);
    curves.read(x, run === null ? "" : `${data.runs[run].name}: ${this.metric} ${show(valueAt(this.found.runs.get(run), x))}`);
  }

  // Returns the run whose curve is nearest to a pixel, within 20 pixels.
  nearest(x, py) {
    let [best, distance] = [null, 20];
    for (const [run, points] of this.found.runs) {
      const y = valueAt(points, x);
      const away = y === null ? Infinity : Math.abs(this.plot.convertToPixel({yAxisIndex: 0}, y) - py);
      if (away < distance) [best, distance] = [run, away];
    }
    return best;
  }

  cursor(x) {
    this.line.hidden = x === null || !this.plot;
    if (this.line.hidden) return;
    const left = this.plot.convertToPixel({gridIndex: 0}, [x, 1])[0];
    Object.assign(this.line.style, {left: `${left}px`, top: `${this.canvas.offsetTop + GRID.top}px`,
      height: `${this.canvas.clientHeight - GRID.top - GRID.bottom}px`});
  }
}

// Returns a round number at or below the lowest value, or at or above the highest one, for the ends of an axis.
function niceStep(low, high) { return 10 ** Math.floor(Math.log10(high - low)) / 2; }
function niceBelow(low, high) { const step = niceStep(low, high); return Number((Math.floor(low / step) * step).toPrecision(12)); }
function niceAbove(low, high) { const step = niceStep(low, high); return Number((Math.ceil(high / step) * step).toPrecision(12)); }
