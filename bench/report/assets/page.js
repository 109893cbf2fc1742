"use strict";
// Theme, sorting, filtering and the comparison of two rows. Texts of a run only ever become text nodes.
(function () {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const all = (selector, inside) => Array.from((inside || document).querySelectorAll(selector));
  const compared = JSON.parse(byId("data").textContent).compared;
  root.classList.add("scripted");

  // -- theme ----------------------------------------------------------------------------------------------------------
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  const remembered = {
    get() { try { return localStorage.getItem("bench-theme"); } catch { return null; } },
    set(theme) { try { localStorage.setItem("bench-theme", theme); } catch { /* a page from disk may have no storage */ } },
  };
  const toggle = byId("theme");
  const dark = () => (root.dataset.theme || (preferred.matches ? "dark" : "light")) === "dark";
  function show(theme) {
    if (theme) root.dataset.theme = theme;
    else delete root.dataset.theme;
    toggle.setAttribute("aria-pressed", String(dark()));
    document.dispatchEvent(new Event("bench:redraw"));
  }
  toggle.hidden = false;
  toggle.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    remembered.set(theme);
    show(theme);
  });
  preferred.addEventListener("change", () => show(remembered.get()));

  // -- details and print ----------------------------------------------------------------------------------------------
  function reveal() {
    let target = null;
    try { target = byId(decodeURIComponent(location.hash.slice(1))); } catch { /* not one of ours */ }
    if (!target) return;
    for (let up = target; up; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
    target.scrollIntoView();
    if (target.hasAttribute("tabindex")) target.focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", reveal);
  let shut = [], shown = null;
  window.addEventListener("beforeprint", () => {
    shut = all("details:not([open])");
    shut.forEach((one) => { one.open = true; });
    shown = root.dataset.theme || "";
    show("light");
  });
  window.addEventListener("afterprint", () => {
    shut.forEach((one) => { one.open = false; });
    show(shown);
  });

  // -- sorting --------------------------------------------------------------------------------------------------------
  function sort(header) {
    const table = header.closest("table"), body = table.tBodies[0];
    const place = Array.from(header.parentElement.children).indexOf(header);
    const now = header.getAttribute("aria-sort");
    const way = now ? (now === "ascending" ? "descending" : "ascending") : header.dataset.first;
    const numbers = header.classList.contains("number");
    const key = (row) => row.children[place].dataset.sort;
    const compare = (a, b) => (numbers ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
    const rows = Array.from(body.rows);
    rows.sort((one, other) => {
      const a = key(one), b = key(other);
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return way === "ascending" ? compare(a, b) : compare(b, a);
    });
    all("th[aria-sort]", table).forEach((other) => other.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", way);
    body.append(...rows);
  }
  all("table.sortable thead button").forEach((button) => {
    button.addEventListener("click", () => sort(button.closest("th")));
  });

  // -- filtering ------------------------------------------------------------------------------------------------------
  const filter = byId("filter"), find = byId("find"), ball = byId("ball"), defense = byId("defense");
  function narrow() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const named = (one) => words.every((word) => one.dataset.text.includes(word));
    let count = 0, total = 0;
    all(".board").forEach((board) => {
      const here = !ball.value || board.id === ball.value;
      board.hidden = !here;
      all("table.leaderboard tbody tr", board).forEach((row) => {
        row.hidden = !(named(row) && (!defense.value || row.dataset.defense === defense.value));
        total += 1;
        count += here && !row.hidden;
      });
    });
    all(".about").forEach((one) => { one.hidden = !named(one); });
    byId("found").textContent = count === total ? "" : `${count} of ${total} rows`;
  }
  if (filter) {
    filter.hidden = false;
    filter.addEventListener("submit", (event) => event.preventDefault());
    [find, ball, defense].forEach((one) => one.addEventListener("input", narrow));
  }

  // -- two rows -------------------------------------------------------------------------------------------------------
  const table = byId("pair-table"), sides = [byId("pair-a"), byId("pair-b")], found = byId("pair-found");
  const boxes = all(".pick input");
  const boxOf = (at, row) => byId(`row-${at}-${row}`).querySelector(".pick input");
  let picked = [];
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  function option(text, value) {
    const made = element("option", text);
    made.value = value;
    return made;
  }
  function fill() {
    const rows = compared[Number(table.value)].rows;
    sides.forEach((side) => side.replaceChildren(option("choose a row", ""), ...rows.map((row, at) => option(row.label, at))));
  }
  const points = (share) => `${share < -0.0005 ? "−" : share >= 0.0005 ? "+" : ""}${Math.abs(100 * share).toFixed(1)}`;
  const chance = (p) => (p < 0.001 ? "< 0.001" : p.toFixed(3));
  function turned(entry) {
    if (entry.reason) return entry;
    return { difference: -entry.difference, low: -entry.high, high: -entry.low, p: entry.p, gained: entry.lost, lost: entry.gained };
  }
  function line(name, entry, a, b) {
    const row = element("tr"), head = element("th", name, "name");
    head.scope = "row";
    row.append(head, element("td", a, "number"), element("td", b, "number"));
    if (entry.reason) {
      const cell = element("td", `not compared: ${entry.reason}`, "name how");
      cell.colSpan = 5;
      row.append(cell);
      return row;
    }
    const texts = [points(entry.difference), `${points(entry.low)} to ${points(entry.high)}`, String(entry.gained), String(entry.lost), chance(entry.p)];
    row.append(...texts.map((text) => element("td", text, "number")));
    return row;
  }
  function told(pair, a, b) {
    const heads = ["", "A, %", "B, %", "B − A, points", "95 % interval", "B keeps, A loses", "A keeps, B loses", "p"];
    const made = element("table"), top = element("tr"), body = element("tbody");
    heads.forEach((text, at) => {
      const head = element(at ? "th" : "td", text, at ? "number" : "name");
      if (at) head.scope = "col";
      top.append(head);
    });
    body.append(line("clean", pair.clean, a.clean, b.clean), line("worst case", pair.worst, a.worst, b.worst));
    const thead = element("thead");
    thead.append(top);
    made.append(thead, body);
    const box = element("div", undefined, "scroll");
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", "Comparison");
    box.append(made);
    const how = pair.random
      ? "A randomisation test and a bootstrap interval over images: one of the rows draws at random."
      : "McNemar's exact test, and Tango's score interval.";
    return [element("p", `A: ${a.label}. B: ${b.label}.`), box, element("p", how, "help")];
  }
  function compare() {
    const at = Number(table.value), [a, b] = sides.map((side) => (side.value === "" ? null : Number(side.value)));
    picked = [a, b].filter((one) => one !== null).map((row) => [at, row]);
    boxes.forEach((box) => { box.checked = false; });
    picked.forEach(([place, row]) => { boxOf(place, row).checked = true; });
    const ready = a !== null && b !== null && a !== b;
    byId("compare").classList.toggle("picked", ready);
    if (!ready) {
      found.replaceChildren(element("p", a !== null && a === b ? "Pick two different rows." : "Pick two rows.", "help"));
      return;
    }
    const { rows, pairs } = compared[at];
    const pair = pairs.find((one) => one.a === Math.min(a, b) && one.b === Math.max(a, b));
    if (!pair) {
      found.replaceChildren(element("p", "This page holds no test of this pair: bench compare RUN makes it.", "help"));
      return;
    }
    const seen = a < b ? pair : { ...pair, clean: turned(pair.clean), worst: turned(pair.worst) };
    found.replaceChildren(...told(seen, rows[a], rows[b]));
  }
  function pick(box) {
    const [, at, row] = /^row-(\d+)-(\d+)$/.exec(box.closest("tr").id).map(Number);
    picked = picked.filter(([place, other]) => place === at && other !== row);
    if (box.checked) picked = [...picked.slice(-1), [at, row]];
    table.value = String(at);
    fill();
    sides.forEach((side, number) => { side.value = picked[number] ? String(picked[number][1]) : ""; });
    compare();
  }
  if (compared.length) {
    boxes.forEach((box) => { box.checked = false; box.addEventListener("change", () => pick(box)); });
    table.addEventListener("input", () => { fill(); compare(); });
    sides.forEach((side) => side.addEventListener("input", compare));
    byId("pair").addEventListener("submit", (event) => event.preventDefault());
    fill();
    compare();
  }

  show(remembered.get());
  reveal();
})();
