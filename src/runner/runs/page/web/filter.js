// The filter: conditions such as `optim.lr<0.1 status=completed word`, all of which must hold.
"use strict";

const CONDITION = /^([^<>=!]*)(<=|>=|!=|=|<|>)(.*)$/s;

// Splits a text at spaces outside of double quotes.
function words(text) {
  if ((text.match(/"/g) || []).length % 2) throw new Error('a quote (") is not closed');
  return (text.match(/(?:"[^"]*"|[^\s"])+/g) || []).map(word => word.replaceAll('"', ""));
}

// Returns the column that a key means: the column itself, or the only one that ends in it, as lr for optim.lr.
function resolveKey(key, columns) {
  if (columns.includes(key)) return key;
  const ends = columns.filter(column => column.endsWith(`.${key}`) || column.endsWith(`/${key}`) || column.endsWith(` ${key}`));
  if (ends.length === 1) return ends[0];
  if (ends.length) throw new Error(`${key} may mean ${ends.slice(0, 4).join(", ")}: write one of them in full`);
  const near = similar(key, columns);
  throw new Error(`there is no key ${key}` + (near.length ? `; similar: ${near.join(", ")}` : ""));
}

// Returns the columns that contain a key, or whose pairs of letters are mostly the same.
function similar(key, columns) {
  const pairs = text => new Set([...text].map((letter, i) => letter + (text[i + 1] ?? "")));
  const wanted = pairs(key);
  const likeness = name => { const found = pairs(name); return 2 * [...wanted].filter(pair => found.has(pair)).length / (wanted.size + found.size); };
  const score = column => column.includes(key) ? 1 : Math.max(likeness(column), likeness(column.split(/[./ ]/).at(-1)));
  return columns.filter(column => score(column) >= .5).sort((a, b) => score(b) - score(a)).slice(0, 4);
}

// Returns a function that says whether a run fulfils the condition.
function condition(key, sign, text, columns) {
  if (!key) throw new Error(`there is no key before ${sign}`);
  const column = resolveKey(key, columns);
  const number = text.trim() === "" ? NaN : Number(text);
  if (sign === "=" || sign === "!=") {
    const equal = run => {
      const found = value(run, column);
      if (isMissing(found)) return ["", "null", "none"].includes(text.toLowerCase());
      if (isNumber(found) && !Number.isNaN(number)) return found === number || show(found) === text;
      return show(found).toLowerCase() === text.toLowerCase();
    };
    return sign === "=" ? equal : run => !equal(run);
  }
  if (Number.isNaN(number)) throw new Error(`${key}${sign}${text}: ${sign} needs a number`);
  const holds = {"<": x => x < number, ">": x => x > number, "<=": x => x <= number, ">=": x => x >= number}[sign];
  return run => isNumber(value(run, column)) && holds(value(run, column));
}

// Returns a function from a run to whether it fulfils the whole filter; throws an error that says what is wrong.
function parseFilter(text, columns) {
  const tests = words(text).map(word => {
    const parts = CONDITION.exec(word);
    if (parts) return condition(parts[1], parts[2], parts[3], columns);
    const part = word.toLowerCase();
    return run => columns.some(column => show(value(run, column)).toLowerCase().includes(part));
  });
  return run => tests.every(test => test(run));
}

// The runs of the chosen dataset that pass the filter; everything on the page shows only these.
const selection = {
  dataset: null,
  all: [], // runs of the dataset
  runs: [], // those of them that pass the filter

  // The datasets, that with the most runs first.
  get datasets() {
    const count = name => data.runs.filter(run => run.dataset === name).length;
    return unique(data.runs.map(run => run.dataset)).sort((a, b) => count(b) - count(a));
  },

  update() {
    const datasets = this.datasets;
    this.dataset = datasets.includes(state.get("dataset")) ? state.get("dataset") : datasets[0];
    this.all = data.runs.map((_, run) => run).filter(run => data.runs[run].dataset === this.dataset);
    try {
      this.runs = this.all.filter(parseFilter(state.get("filter"), ["run", "status", ...Object.keys(data.values)]));
      find("filter-error").hidden = true;
    } catch (error) { // the previous selection stays, if there is one
      const before = this.runs.filter(run => this.all.includes(run));
      this.runs = before.length ? before : this.all;
      find("filter-error").textContent = `Filter: ${error.message}.`;
      find("filter-error").hidden = false;
    }
    find("matches").textContent = this.runs.length === this.all.length ? counted(this.all.length, "run")
      : `${this.runs.length.toLocaleString("en")} of ${counted(this.all.length, "run")}`;
    find("printed-filter").textContent = state.get("filter") ? `Filter: ${state.get("filter")} (${find("matches").textContent})` : "";
  },

  // The metrics that runs of the dataset have, and the keys in which they differ; the main ones come first.
  get metrics() { return data.metrics.filter(name => this.all.some(run => isNumber(value(run, name)))); },
  get keys() { return data.keys.filter(key => varies(this.all, key)); },
  get mainKeys() { return data.main.filter(key => varies(this.all, key)); },
  get parameters() { // repeats last, because they are noise and not choices
    return [...this.mainKeys.filter(key => !data.repeats.includes(key)), ...this.keys.filter(key => !data.main.includes(key)),
      ...this.mainKeys.filter(key => data.repeats.includes(key))];
  },
};
