"use strict";
// Everything shown is set as text, never as markup: names and notes come from files that anyone may have written.
(() => {
  const root = document.documentElement;
  const storage = "mixer-bench-theme";
  const byId = (id) => document.getElementById(id);

  // Private windows and some settings refuse storage; the page then follows the system, as at first.
  const recall = () => { try { return localStorage.getItem(storage); } catch { return null; } };
  const remember = (theme) => { try { localStorage.setItem(storage, theme); } catch { /* not kept */ } };
  const isDark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  // Before the page is drawn, or it would flash.
  if (["light", "dark"].includes(recall())) root.dataset.theme = recall();

  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  function button(text, action) {
    const made = element("button", { type: "button" }, text);
    made.addEventListener("click", action);
    return made;
  }

  function themeToggle() {
    const toggle = byId("theme");
    const label = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
    toggle.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    label();
  }

  // Sorting: numbers as numbers, best first; text from A; a third click gives the order of the report.
  function sortValue(cell) {
    if (cell.classList.contains("number")) return "value" in cell.dataset ? Number(cell.dataset.value) : null;
    return cell.textContent.trim() || null;
  }

  function compared(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);  // missing last, whichever way
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const numeric = heading.classList.contains("number");
      const ways = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
      const sort = () => {
        const way = ways[ways.indexOf(heading.getAttribute("aria-sort")) + 1];
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        if (way) heading.setAttribute("aria-sort", way);
        const keyed = original.map((row) => [sortValue(row.cells[column]), row]);
        if (way) keyed.sort((a, b) => compared(a[0], b[0], way === "ascending" ? 1 : -1));
        body.append(...keyed.map(([, row]) => row));
      };
      heading.replaceChildren(button(heading.textContent, sort));
      if ("sorted" in heading.dataset) sort();
    });
  }

  // "mixer b16, vit" shows what has mixer and b16, or vit, in its name.
  function filter(tables) {
    const wanted = byId("filter").value.toLowerCase().split(",").map((part) => part.split(/\s+/).filter(Boolean)).filter((words) => words.length);
    const all = new Set(), shown = new Set();
    for (const table of tables) {
      for (const row of table.tBodies[0].rows) {
        const name = row.cells[0].textContent.toLowerCase();
        row.hidden = wanted.length > 0 && !wanted.some((words) => words.every((word) => name.includes(word)));
        all.add(name);
        if (!row.hidden) shown.add(name);
      }
    }
    byId("shown").textContent = wanted.length ? `${shown.size} of ${all.size} shown` : "";
  }

  function say(text) {
    byId("said").textContent = text;
    clearTimeout(say.timer);
    say.timer = setTimeout(() => { byId("said").textContent = ""; }, 2500);
  }

  // Where the clipboard is refused, the old way; where that is as well, the text itself to be copied by hand.
  async function copy(text, what) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = element("textarea", { readonly: "", "aria-label": what });
      area.value = text;
      const open = byId("record").open;
      (open ? byId("record") : document.body).append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) {
        show(what, [area]);
        area.select();
        return;
      }
    }
    say(`${what} copied`);
  }

  const points = (share) => (share === null ? "–" : (100 * share).toFixed(2));
  const percent = (share) => (share === null ? "–" : `${points(share)} %`);
  const seconds = (number) => (!number ? "–" : number < 1 ? `${(1000 * number).toPrecision(3)} ms` : `${number.toFixed(1)} s`);
  const whole = (number) => (number === null ? "–" : Math.round(number).toLocaleString("en"));
  const plain = (value) => (value === null ? "none" : Array.isArray(value) ? value.map(plain).join(", ") || "none" : typeof value === "object" ? JSON.stringify(value) : String(value));

  function pairs(values) {
    const list = element("dl");
    for (const [key, value] of Object.entries(values)) list.append(element("dt", null, key), element("dd", null, plain(value)));
    return list;
  }

  function grid(headings, rows) {
    const head = element("tr", null, ...headings.map((heading) => element("th", { scope: "col" }, heading)));
    const body = rows.map((row) => element("tr", null, ...row.map((cell) => (cell instanceof Node ? cell : element("td", null, cell)))));
    return element("div", { class: "scroll" }, element("table", null, element("thead", null, head), element("tbody", null, ...body)));
  }

  const seedsOf = (runs) => (runs.length === 1 ? "seed " : "seeds ") + runs.map((run) => run.seed).join(", ");

  // What runs say alike is said once: a heading, and the seeds only where they differ.
  function parted(group, title, keyOf, shown) {
    const parts = new Map();
    for (const run of group.runs) {
      const key = keyOf(run);
      if (key !== null) parts.set(key, [...(parts.get(key) || []), run]);
    }
    const found = [];
    for (const [key, runs] of parts) {
      const content = shown(key);
      if (content === null) continue;
      const which = runs.length < group.runs.length ? ` (${seedsOf(runs)})` : "";
      found.push(element("h3", null, title + which), content);
    }
    return found;
  }

  function selection(values) {
    const row = values.scores.map((score, place) => {
      const chosen = values.grid[place] === values.chosen;
      return element("td", chosen ? { class: "chosen" } : null, score === null ? "diverged" : percent(score) + (chosen ? " ✓" : ""));
    });
    const said = `${values.parameter} = ${values.chosen}, chosen by ${whole(values.examples)} examples of ${values.split}` + (values.at_edge ? "; at the grid's edge: a better one may lie beyond" : "");
    return element("div", null, element("p", { class: "quiet" }, said), grid([values.parameter, ...values.grid.map(String)], [[`score on ${values.split}`, ...row]]));
  }

  function scores(group) {
    const others = Object.keys(group.runs[0].metrics).filter((name) => name !== group.metric);
    const names = [group.metric, ...others];
    const rows = group.runs.map((run) => [
      String(run.seed),
      ...names.map((name) => { const m = run.metrics[name]; return m ? `${percent(m[0])} [${points(m[1])}, ${points(m[2])}]` : "–"; }),
      element("td", null, element("code", null, run.key)),
      run.created,
    ]);
    const said = "In brackets: the 95 % interval due to the size of the test split.";
    return element("div", null, grid(["seed", ...names, "key", "made"], rows), element("p", { class: "quiet" }, said));
  }

  function costs(group) {
    const rows = group.runs.map(({ seed, cost: [images, trained, extract, fit, speed, memory] }) => [
      String(seed), whole(images), whole(trained), seconds(extract), seconds(fit), whole(speed), memory === null ? "–" : `${(memory / 2 ** 20).toFixed(0)} MiB`,
    ]);
    return grid(["seed", "images through the network", "trained on", "features", "fit", "img/s of features", "peak memory"], rows);
  }

  // Lines break between options, not inside them.
  const wrapped = (command) => command.split(/ (?=--)/).flatMap((option, place) => [place ? " " : "", element("span", { class: "option" }, option)]);

  function details(group, pool) {
    const part = (title) => [element("h3", null, title), pairs(pool[group.parts[title]])];
    const said = (place) => (pool[place].length ? element("ul", { class: "notes" }, ...pool[place].map((note) => element("li", null, note))) : null);
    const again = button("Copy the command", () => copy(group.command, "Command"));
    return [
      scores(group),
      ...parted(group, "Notes", (run) => run.said, said),
      element("h3", null, "Run again"),
      element("pre", null, ...wrapped(group.command)),
      group.lacking ? element("p", { class: "quiet" }, `Not in the record, to be put in its place: ${group.lacking}`) : null,
      again,
      ...part("Settings"),
      ...parted(group, "Selection", (run) => run.selection, (place) => selection(pool[place])),
      ...part("Data"),
      ...part("Model"),
      element("h3", null, "Cost"),
      costs(group),
      ...parted(group, "Environment", (run) => run.environment, (place) => pairs(pool[place])),
      ...parted(group, "Where the features were made", (run) => run.elsewhere, (place) => pairs(pool[place])),
    ].filter((child) => child !== null);
  }

  // Many groups are one mean: each opens by itself, and is made when it does.
  function folded(group, pool) {
    const values = group.runs.map((run) => run.metrics[group.metric][0]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const fold = element("details", null, element("summary", null, `${group.task}: ${percent(mean)}, ${seedsOf(group.runs)}`));
    fold.addEventListener("toggle", () => {
      if (fold.childElementCount === 1) fold.append(element("div", { class: "inside" }, ...details(group, pool)));
    });
    return fold;
  }

  function show(title, children) {
    const dialog = byId("record");
    byId("record-title").textContent = title;
    byId("record-body").replaceChildren(...children);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  }

  function open(groups, pool, setting) {
    const [first] = groups;
    if (groups.length === 1) {
      show([first.model, first.task, setting].filter(Boolean).join(" · "), details(first, pool));
      history.replaceState(null, "", `#${first.runs[0].key}`);
    } else {
      const tasks = `The mean over ${new Set(groups.map((group) => group.task)).size} tasks stands on these runs.`;
      show([first.model, setting].filter(Boolean).join(" · "), [element("p", { class: "quiet" }, tasks), ...groups.map((group) => folded(group, pool))]);
    }
  }

  // Of the runs and of the tables as text, which are packed: gzip's JSON in base64.
  async function unpacked() {
    const bytes = Uint8Array.from(atob(byId("data").textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  }

  function openable(table, data) {
    const headings = [...table.tHead.rows[0].cells].map((cell) => cell.textContent);
    for (const cell of table.querySelectorAll("td[data-groups]")) {
      const setting = headings[cell.cellIndex];
      const places = cell.dataset.groups.split(" ").map(Number);
      const opener = button("", () => data.then(({ groups, pool }) => open(places.map((place) => groups[place]), pool, setting)));
      opener.setAttribute("aria-haspopup", "dialog");
      opener.append(...cell.childNodes);
      cell.append(opener);
    }
  }

  // A link leads into what is folded away as well.
  function unfold() {
    const place = location.hash && byId(decodeURIComponent(location.hash.slice(1)));
    for (let fold = place && place.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (place) place.scrollIntoView({ block: "center", inline: "center" });
  }

  function hintAtMore() {
    for (const box of document.querySelectorAll(".box")) {
      const inner = box.firstElementChild;
      // Where a table is wider than the page, intervals go below their numbers.
      if (inner.clientWidth && inner.clientWidth < inner.scrollWidth) box.classList.add("stacked");
      box.classList.toggle("more", inner.scrollLeft + inner.clientWidth < inner.scrollWidth - 1);
    }
  }

  async function openLinked(data) {
    const { groups, pool } = await data;
    const key = location.hash.slice(1);
    const linked = key && groups.find((group) => group.runs.some((run) => run.key === key));
    if (linked) open([linked], pool, "");
  }

  document.addEventListener("DOMContentLoaded", () => {
    const data = unpacked();
    data.catch(() => say("The runs cannot be shown: this needs a browser of 2023 or later"));
    const tables = [...document.querySelectorAll(".comparison table")];
    themeToggle();
    for (const table of tables) {
      openable(table, data);
      sortable(table);
    }
    for (const one of document.querySelectorAll("[data-copy]")) {
      one.addEventListener("click", () => data.then(({ copies }) => copy(copies[one.dataset.table][one.dataset.copy], one.dataset.copy)));
    }
    if (byId("filter")) {
      byId("filter").addEventListener("input", () => filter(tables));
      if (byId("filter").value) filter(tables);  // browsers keep what was typed over a reload
    }
    const dialog = byId("record");
    byId("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", ({ target, clientX: x, clientY: y }) => {
      const box = dialog.getBoundingClientRect();
      if (target === dialog && (x < box.left || x > box.right || y < box.top || y > box.bottom)) dialog.close();
    });
    dialog.addEventListener("close", () => { if (location.hash) history.replaceState(null, "", location.pathname + location.search); });
    for (const hidden of document.querySelectorAll(".needs-script")) hidden.hidden = false;
    for (const box of document.querySelectorAll(".scroll")) box.addEventListener("scroll", hintAtMore);
    for (const fold of document.querySelectorAll(".fold")) fold.addEventListener("toggle", hintAtMore);
    addEventListener("resize", hintAtMore);
    addEventListener("hashchange", () => { unfold(); openLinked(data); });
    hintAtMore();
    unfold();
    openLinked(data);
  });
})();
