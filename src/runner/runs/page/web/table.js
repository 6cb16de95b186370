// The table of runs: name, status and metrics, then the keys that differ. It sorts, ticks rows and hides columns.
"use strict";

const ROWS = 100; // rows that are drawn at once; the others follow by scrolling, or all before printing
const [NAME, SHORT_NAME] = [44, 28]; // characters of a name, on a wide and on a narrow page

const table = {
  rows: ROWS,
  hidden: null, // columns that do not fit the page; null: not yet measured for this dataset
  dataset: null,

  get columns() {
    const rest = selection.keys.filter(key => !data.main.includes(key));
    return ["run", "status", ...selection.metrics, ...selection.mainKeys, "seconds", ...rest];
  },

  // The columns that are shown: those chosen by the reader or on the command line, or the main ones that fit.
  get shown() {
    const reader = state.get("columns", null);
    if (reader !== null) return this.columns.filter(name => name === "run" || reader.split("|").includes(name));
    if (data.chosen !== null) return ["run", ...data.chosen.filter(name => name !== "run")];
    const keys = this.columns.filter(name => !data.keys.includes(name) || data.main.includes(name));
    return keys.filter(name => !(this.hidden || []).includes(name));
  },

  sorted() {
    const by = state.get("sort", null);
    if (by === null) return selection.runs;
    const down = state.get("down") === "true";
    return [...selection.runs].sort((a, b) => compareValues(value(a, by), value(b, by), down));
  },

  draw() {
    if (this.dataset !== selection.dataset) [this.dataset, this.hidden] = [selection.dataset, null];
    this.paint();
    if (this.hidden === null) this.fit();
    this.chooser();
  },

  paint() {
    const [columns, runs] = [this.shown, this.sorted()];
    const numeric = new Set(columns.filter(name => selection.all.some(run => isNumber(value(run, name)))));
    const head = element("tr", {}, element("th", {scope: "col"}, element("span", {"aria-label": "ticked"}, "")),
      ...columns.map(name => this.heading(name, numeric.has(name))));
    const body = runs.slice(0, this.rows).map(run => this.row(run, columns, numeric));
    find("runs").replaceChildren(element("thead", {}, head), element("tbody", {}, ...body));
    find("more-rows").hidden = runs.length <= this.rows;
    find("more").textContent = `Show ${Math.min(ROWS, runs.length - this.rows)} more of ${counted(runs.length - this.rows, "row")}`;
    if (!runs.length) find("runs").append(element("caption", {}, "No run passes the filter."));
  },

  heading(name, isNumeric) {
    const sort = state.get("sort") === name ? (state.get("down") === "true" ? "descending" : "ascending") : "none";
    const button = element("button", {type: "button", title: `Sort by ${name}`, "data-column": name}, ...breakable(name, /(?<=[./_])/));
    button.onclick = () => this.sort(name);
    return element("th", {scope: "col", "aria-sort": sort, class: isNumeric ? "number" : null}, button);
  },

  row(run, columns, numeric) {
    const name = data.runs[run].name;
    const tick = element("input", {type: "checkbox", "aria-label": `Tick ${name}`});
    tick.checked = ticked.has(run);
    tick.onchange = () => ticked.toggle(run);
    const cells = columns.map(column => {
      const text = show(value(run, column));
      if (column === "run") return element("td", {title: name}, cutName(name, innerWidth < 1000 ? SHORT_NAME : NAME));
      const bad = column === "status" && !isDone(run) && text !== "running";
      const kind = [bad && "bad", numeric.has(column) ? "number" : "value"].filter(Boolean).join(" ");
      return element("td", {class: kind, title: text.length > 24 ? text : null}, text);
    });
    const row = element("tr", {class: tick.checked ? "ticked" : null, "data-run": run}, element("td", {}, tick), ...cells);
    row.onclick = event => { if (event.target !== tick && !String(getSelection())) ticked.toggle(run); };
    return row;
  },

  // Sorts by a column: the first time the best or smallest first, the second time the other way round, then as before.
  sort(name) {
    const first = higherIsBetter(name) ? "true" : null;
    const again = state.get("sort") === name;
    if (again && (state.get("down", null) !== first)) { state.values.delete("down"); state.set("sort", null); }
    else { state.values.delete("down"); if (again ? !first : first) state.values.append("down", "true"); state.set("sort", name); }
    document.querySelector(`#runs [data-column="${CSS.escape(name)}"]`)?.focus();
  },

  // Hides columns that do not fit, so that nothing has to be scrolled sideways: the last keys, then the last metrics.
  fit() {
    this.hidden = [];
    if (state.get("columns", null) !== null || data.chosen !== null) return;
    const box = find("runs-box");
    const widths = [...find("runs").rows[0].cells].slice(1).map(cell => cell.offsetWidth);
    let over = find("runs").offsetWidth - box.clientWidth;
    const names = this.shown;
    const [best, ...others] = selection.metrics;
    const keys = names.filter(name => !["run", "status", best, ...others].includes(name));
    for (const name of [...others, ...keys].reverse()) {
      if (over <= 0) break;
      over -= widths[names.indexOf(name)];
      this.hidden.push(name);
    }
    if (this.hidden.length) this.paint();
  },

  chooser() {
    const shown = this.shown;
    const all = unique([...shown, ...this.columns]).slice(1);
    const missing = all.filter(name => !shown.includes(name)).length;
    document.querySelector("#columns summary").textContent = missing ? `Columns (${missing} hidden)` : "Columns";
    const reset = element("button", {type: "button"}, "Default columns");
    reset.onclick = () => state.set("columns", null);
    find("column-list").replaceChildren(reset, ...all.map(name => {
      const box = element("input", {type: "checkbox", value: name});
      box.checked = shown.includes(name);
      box.onchange = () => {
        const left = box.checked ? [...shown, name] : shown.filter(each => each !== name);
        state.set("columns", left.join("|"));
        find("column-list").querySelector(`[value="${CSS.escape(name)}"]`)?.focus();
      };
      return element("label", {}, box, ` ${name}`);
    }));
  },

  more(count) { this.rows += count; this.paint(); },
};

find("more").onclick = () => table.more(ROWS);
find("runs-box").onscroll = event => {
  const box = event.target;
  if (!find("more-rows").hidden && box.scrollTop + box.clientHeight > box.scrollHeight - 300) table.more(ROWS);
};
