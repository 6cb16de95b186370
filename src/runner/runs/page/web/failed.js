// Why runs failed: the error, and the end of the log.
"use strict";

const failed = {
  draw() {
    const runs = selection.runs.filter(run => data.runs[run].error || data.runs[run].log || data.runs[run].status.startsWith("damaged"));
    find("failed").hidden = find("why").hidden = !runs.length;
    find("why").textContent = `Why ${counted(runs.length, "run")} did not complete`;
    find("failed").replaceChildren(element("h2", {}, `Not completed: ${counted(runs.length, "run")}`), ...runs.map(run => this.one(data.runs[run])));
  },

  one(run) {
    const [error, ...hints] = (run.error ?? "").split("\n");
    const title = element("summary", {title: run.name}, element("strong", {}, cutName(run.name, 70)), " ",
      element("span", {class: "bad"}, run.status), error && `: ${error}`);
    const log = run.log ? element("pre", {class: "log", tabindex: 0, "aria-label": `End of the log of ${run.name}`}, run.log)
      : element("p", {class: "note"}, "The run has no log.");
    return element("details", {"data-run": run.name}, title, ...hints.map(hint => element("p", {class: "note"}, hint)), log);
  },
};

find("why").onclick = event => { // the hash holds the state
  event.preventDefault();
  find("failed").scrollIntoView();
  find("failed").querySelector("summary").focus();
};
addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("#failed details")) each.open = true; });
