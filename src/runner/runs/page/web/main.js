// Draws everything, and again whenever a choice changes.
"use strict";

const TABLE_KEYS = ["columns", "sort", "down"]; // choices that change nothing but the table
const CURVE_KEYS = ["axis", "group", "band", "logy", "single", "smooth", "curves"];
const PLOT_KEYS = ["metric", "parameter", "logx", "cost"];

function drawHeader() {
  const statuses = unique(data.runs.map(run => run.status)).sort().map(name => {
    const link = element("button", {type: "button", class: "link", title: `Show only runs with the status ${name}`},
      `${data.runs.filter(run => run.status === name).length} ${name}`);
    link.onclick = () => setFilter(name.includes(" ") ? `status="${name}"` : `status=${name}`);
    return link;
  });
  const listed = statuses.flatMap((each, i) => i ? [", ", each] : [each]);
  find("summary").replaceChildren(`${counted(data.runs.length, "run")}: `, ...listed, `. Written ${data.written}.`);
  const datasets = selection.datasets;
  find("datasets").hidden = datasets.length < 2;
  find("datasets").replaceChildren(...datasets.map(name => {
    const button = element("button", {type: "button", "aria-pressed": String(name === selection.dataset)},
      `${name} (${data.runs.filter(run => run.dataset === name).length})`);
    button.onclick = () => {
      for (const key of ["columns", "sort", "down", "curves"]) state.values.delete(key);
      state.set("dataset", name);
      [...find("datasets").children].find(each => each.textContent === button.textContent)?.focus();
    };
    return button;
  }));
}

function setFilter(text) {
  find("filter").value = text;
  state.set("filter", text);
}

function draw(key = null) {
  ticked.update();
  if (TABLE_KEYS.includes(key)) { table.rows = ROWS; table.draw(); return; }
  if (CURVE_KEYS.includes(key)) { curves.draw(); return; }
  if (PLOT_KEYS.includes(key)) { for (const view of [scatter, parallel, pareto]) view.draw(); return; }
  if (key === "ticked") { for (const view of [table, ticked, curves, scatter, pareto]) view.draw(); return; }
  table.rows = ROWS;
  selection.update();
  drawHeader();
  for (const view of [verdict, table, ticked, curves, importance, scatter, parallel, pareto, failed]) view.draw();
}

// While runs go on, loads the page again, but not while the reader types, drags or has a menu open.
function follow() {
  const kept = JSON.parse(sessionStorage.getItem("follow") || "{}");
  if (kept.scroll) scrollTo(0, kept.scroll);
  if (kept.box) find("runs-box").scrollTop = kept.box;
  find("reload").checked = kept.reload !== false;
  find("following").hidden = false;
  let [used, down] = [0, false];
  const note = event => { used = Date.now(); down = event.type === "pointerdown" || down && event.type !== "pointerup"; };
  for (const name of ["pointerdown", "pointerup", "keydown", "input"]) addEventListener(name, note, true);
  const keep = () => sessionStorage.setItem("follow", JSON.stringify(
    {scroll: scrollY, box: find("runs-box").scrollTop, reload: find("reload").checked}));
  find("reload").onchange = keep;
  setInterval(() => {
    if (!find("reload").checked || down || Date.now() - used < 2000 || find("columns").open || document.hidden) return;
    keep();
    location.reload();
  }, data.follow * 1000);
}

connectControls();
state.listeners.push(draw);
addEventListener("hashchange", () => { state.values = new URLSearchParams(location.hash.slice(1)); draw(); });
find("skip").onclick = event => { event.preventDefault(); find("runs-box").focus(); };
draw();
if (data.follow) follow();
