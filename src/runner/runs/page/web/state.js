// What the reader has chosen. It is kept in the hash of the address, so that a view can be shared and survives a reload.
"use strict";

const state = {
  values: new URLSearchParams(location.hash.slice(1)),
  listeners: [],

  get(key, otherwise = "") { return this.values.get(key) ?? otherwise; },
  list(key) { return this.values.getAll(key); },

  // Sets a key to a text or a list of texts; null removes it. Then everything is drawn again.
  set(key, chosen) {
    this.values.delete(key);
    for (const each of Array.isArray(chosen) ? chosen : isMissing(chosen) ? [] : [chosen]) this.values.append(key, each);
    history.replaceState(null, "", `#${this.values}`);
    this.changed(key);
  },

  changed(key) { for (const listener of this.listeners) listener(key); },
};

// Connects every control that has data-state="KEY" with that key; controls with the same key stay equal.
function connectControls() {
  const read = control => control.type === "checkbox" ? String(control.checked) : control.value;
  const write = (control, text) => {
    if (control.type === "checkbox") control.checked = text === "true";
    else control.value = text;
  };
  for (const control of document.querySelectorAll("[data-state]")) {
    const key = control.dataset.state;
    const chosen = state.values.get(key);
    const normal = read(control);
    if (chosen !== null) write(control, chosen);
    control.addEventListener("input", () => {
      for (const twin of document.querySelectorAll(`[data-state="${key}"]`)) write(twin, read(control));
      state.set(key, read(control) === normal ? null : read(control));
    });
  }
}

// Returns the present value of the controls of a key.
function chosen(key) {
  const control = document.querySelector(`[data-state="${key}"]`);
  return control.type === "checkbox" ? control.checked : control.value;
}

// Replaces the options of a select, and keeps what was chosen if it still exists.
function fill(select, options, preferred) {
  const wanted = state.get(select.dataset.state, null) ?? preferred;
  select.replaceChildren(...options.map(([text, label]) => element("option", {value: text}, label ?? text)));
  select.value = options.some(([text]) => text === wanted) ? wanted : options.length ? options[0][0] : "";
}
