// The runs that the reader has ticked: everything in which they differ, and their pictures side by side.
"use strict";

const ticked = {
  get runs() {
    const names = state.list("ticked");
    return names.map(name => data.runs.findIndex(run => run.name === name)).filter(run => run >= 0);
  },

  has(run) { return this.set.has(run); },

  update() { this.set = new Set(this.runs); },

  toggle(run) {
    const name = data.runs[run].name;
    const names = state.list("ticked");
    const focused = document.activeElement?.getAttribute("aria-label");
    state.set("ticked", names.includes(name) ? names.filter(each => each !== name) : [...names, name]);
    if (focused) document.querySelector(`#runs [aria-label="${CSS.escape(focused)}"]`)?.focus(); // the row was drawn anew
  },

  draw() {
    const runs = this.runs;
    find("ticked").hidden = !runs.length;
    if (!runs.length) { find("ticked").replaceChildren(); return; }
    const clear = element("button", {type: "button"}, "Untick all");
    clear.onclick = () => state.set("ticked", null);
    const hint = runs.length === 1 ? [element("p", {class: "note"}, "Tick another run to see in what they differ.")] : [];
    find("ticked").replaceChildren(element("h2", {}, counted(runs.length, "ticked run")), element("p", {class: "controls"}, clear),
      ...hint, ...(runs.length > 1 ? this.differences(runs) : []), ...this.pictures(runs));
  },

  // A table with the metrics of the ticked runs, and the config keys in which they differ.
  differences(runs) {
    const two = runs.length === 2;
    const rows = (names, always) => names.filter(name => always || varies(runs, name)).map(name => {
      const values = runs.map(run => value(run, name));
      const difference = two && values.every(isNumber) ? signed(values[1] - values[0]) : "";
      return element("tr", {}, element("th", {scope: "row"}, name), ...values.map(each => element("td", {class: "value", title: show(each)}, show(each) || "–")),
        ...(two ? [element("td", {class: "number"}, difference)] : []));
    });
    const metrics = data.metrics.filter(name => runs.some(run => isNumber(value(run, name))));
    const keys = rows(data.keys, false);
    const heads = ["", ...runs.map(run => data.runs[run].name), ...(two ? ["difference"] : [])];
    const head = element("tr", {}, ...heads.map((text, i) => element("th", {scope: "col", title: text, class: i > runs.length ? "number" : null}, ...breakable(text, /(?<=,)/))));
    const section = text => element("tr", {class: "section"}, element("th", {colspan: heads.length, scope: "colgroup"}, text));
    const table = element("table", {class: "compact", id: "differences"}, element("thead", {}, head), element("tbody", {},
      ...rows(["status"], true), section("metrics"), ...rows([...metrics, "seconds", "parameters"], true),
      section(keys.length ? "config keys that differ" : "no config key differs"), ...keys));
    const command = two ? [element("p", {class: "note"}, "Code, environment, data and the first step that differs: ",
      element("code", {}, `python -m runner diff ${runs.map(run => quoted(data.runs[run].folder)).join(" ")}`))] : [];
    return [element("div", {class: "scroll"}, table), ...command];
  },

  pictures(runs) {
    const names = unique(runs.flatMap(run => data.runs[run].pictures.map(picture => picture.name)));
    return names.flatMap(name => {
      const shown = runs.flatMap(run => data.runs[run].pictures.filter(picture => picture.name === name).map(picture => {
        const image = element("img", {src: picture.source, alt: `${name} of ${data.runs[run].name}`, loading: "lazy"});
        const caption = element("figcaption", {title: data.runs[run].name}, cutName(data.runs[run].name, 50));
        image.onerror = () => image.replaceWith(element("p", {class: "note"}, `${picture.source} is not beside this page.`));
        return element("figure", {}, caption, image);
      }));
      return [element("h3", {}, name), element("div", {class: "pictures"}, ...shown)];
    });
  },
};

const quoted = text => /^[\w.,\/=@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`; // for a shell
