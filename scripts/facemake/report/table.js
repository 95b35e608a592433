"use strict";
(() => {
  const { rows, folders, pages } = JSON.parse(document.getElementById("rows").textContent);
  // columns of a row: name, status, reason, subject, split, frames, faces, kept, seconds, folder
  const [NAME, STATUS, REASON, SUBJECT, SPLIT, FRAMES, FACES, KEPT, SECONDS, FOLDER] = rows.length ? rows[0].keys() : [];
  const PAGE = 100;
  const at = (id) => document.getElementById(id);
  const body = at("table").tBodies[0];
  const texts = rows.map((r) => [r[NAME], r[SUBJECT], r[REASON], r[STATUS]].join("\n").toLowerCase());
  const collator = new Intl.Collator(undefined, { numeric: true });
  const share = (r) => (r[FRAMES] ? r[FACES] / r[FRAMES] : null);
  const keys = [(r) => r[NAME], (r) => r[STATUS], (r) => r[SUBJECT], (r) => r[SPLIT], (r) => r[FRAMES], share, (r) => r[KEPT], (r) => r[SECONDS]];
  let order = rows.map((_, i) => i), shown = order, page = 0, sorted = -1, down = false;

  const thousands = (n) => (n === null ? "–" : String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
  const percent = (s) => {
    if (s === null) return "–";
    const p = 100 * s;
    if (p > 0 && p < 0.1) return "<\u202f0.1\u202f%";
    if (p > 99.9 && p < 100) return ">\u202f99.9\u202f%";
    return p.toFixed(1).replace(".0", "") + "\u202f%";
  };
  const seconds = (t) => {
    if (t === null) return "–";
    if (t < 60) return t.toFixed(1) + " s";
    const m = Math.floor(Math.round(t) / 60), two = (n) => String(n).padStart(2, "0");
    return m < 60 ? `${m} min ${two(Math.round(t) % 60)} s` : `${Math.floor(m / 60)} h ${two(m % 60)} min`;
  };
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const line = (r) => {
    const tr = make("tr"), head = make("th");
    head.scope = "row";
    if (r[FOLDER] >= 0) {
      const link = make("a", r[NAME]);
      link.href = [pages, folders[r[FOLDER]], r[NAME] + ".html"].map(encodeURIComponent).join("/");
      head.append(link);
    } else head.textContent = r[NAME];
    const status = make("td");
    status.append(make("span", r[STATUS], "key s-" + r[STATUS]));
    if (r[REASON]) status.append(make("span", r[REASON], "reason"));
    tr.append(head, status, make("td", r[SUBJECT]), make("td", r[SPLIT]), make("td", thousands(r[FRAMES]), "n"), make("td", percent(share(r)), "n"), make("td", thousands(r[KEPT]), "n"), make("td", seconds(r[SECONDS]), "n"));
    return tr;
  };
  const draw = () => {
    const pagesOf = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(page, pagesOf - 1);
    const here = shown.slice(page * PAGE, (page + 1) * PAGE);
    body.replaceChildren(...here.map((i) => line(rows[i])));
    if (!here.length) {
      const tr = make("tr"), td = make("td", "No sample fits.", "muted");
      td.colSpan = keys.length; tr.append(td); body.append(tr);
    }
    at("found").textContent = shown.length === rows.length ? `${thousands(rows.length)} samples` : `${thousands(shown.length)} of ${thousands(rows.length)} samples`;
    at("pager").hidden = pagesOf < 2;
    at("where").textContent = `${thousands(page * PAGE + 1)}–${thousands(page * PAGE + here.length)} of ${thousands(shown.length)}`;
    at("back").disabled = page === 0;
    at("on").disabled = page === pagesOf - 1;
  };
  const filter = () => {
    const wanted = at("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = at("status").value, split = at("split") ? at("split").value : "";
    shown = order.filter((i) => (!status || rows[i][STATUS] === status) && (!split || rows[i][SPLIT] === split) && wanted.every((w) => texts[i].includes(w)));
    page = 0;
    draw();
  };
  const sort = (column) => {
    down = sorted === column ? !down : false;
    sorted = column;
    const key = keys[column], sign = down ? -1 : 1, values = rows.map(key);
    order = rows.map((_, i) => i).sort((a, b) => {
      const x = values[a], y = values[b];
      // what is not known stands last either way
      if (x === null || y === null || x === "" || y === "") {
        const none = (v) => v === null || v === "";
        return none(x) - none(y) || a - b;
      }
      return sign * (typeof x === "number" ? x - y : collator.compare(x, y)) || a - b;
    });
    heads.forEach((th, i) => (i === column ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
    filter();
  };
  const heads = [...at("table").tHead.rows[0].cells];
  heads.forEach((th, column) => {
    const button = make("button", th.textContent);
    button.type = "button";
    button.addEventListener("click", () => sort(column));
    th.replaceChildren(button);
  });
  at("find").hidden = false;
  at("find").addEventListener("submit", (event) => event.preventDefault());
  for (const id of ["words", "status", "split"]) if (at(id)) at(id).addEventListener("input", filter);
  const turn = (step) => { page += step; draw(); at("table").scrollIntoView({ block: "nearest" }); };
  at("back").addEventListener("click", () => turn(-1));
  at("on").addEventListener("click", () => turn(1));
  draw();
})();
