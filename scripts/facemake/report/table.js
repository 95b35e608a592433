"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const { rows, folders, pages } = read("rows");
  const PAGE = 100;
  // columns of a row of samples
  const [NAME, STATUS, REASON, SUBJECT, SPLIT, FRAMES, FACES, MEASURED, KEPT, SECONDS, FOLDER] = Array(11).keys();
  const collator = new Intl.Collator(undefined, { numeric: true });

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
    if (t < 59.95) return t.toFixed(1) + " s";
    const m = Math.floor(Math.round(t) / 60), two = (n) => String(n).padStart(2, "0");
    return m < 60 ? `${m} min ${two(Math.round(t) % 60)} s` : `${Math.floor(m / 60)} h ${two(m % 60)} min`;
  };
  const make = (tag, text, kind) => {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (kind) node.className = kind;
    return node;
  };
  const linked = (row, text) => {
    if (row[FOLDER] < 0) return document.createTextNode(text);
    const link = make("a", text);
    link.href = [pages, folders[row[FOLDER]], row[NAME] + ".html"].map(encodeURIComponent).join("/");
    return link;
  };
  const cell = (content, kind) => {
    const td = make("td", undefined, kind);
    td.append(content);
    return td;
  };
  const head = (content, kind) => {
    const th = make("th", undefined, kind);
    th.scope = "row";
    th.append(content);
    return th;
  };
  const number = (value, write) => cell(write(value), "n");

  /* A table that draws one page of rows. `keys`: what each column is sorted by; `text`: what is
     searched; `draw`: the cells of a row; `fits`: whether a row is shown under the selections. */
  const table = (id, { rows, keys, text, draw, what, fits = () => true }) => {
    const section = document.getElementById(id), form = section && section.querySelector("form");
    if (!form) return;
    const view = section.querySelector("table.data"), body = view.tBodies[0];
    const pager = section.querySelector(".pager"), [back, on] = pager.querySelectorAll("button"), where = pager.querySelector("span");
    const found = form.querySelector("output"), words = form.elements.words;
    // letters with marks are typed in either of two ways
    const plain = (text) => text.normalize("NFC").toLowerCase();
    const texts = rows.map((row) => plain(text(row)));
    // the rank of each row by a column: made when it is asked for, so that a click sorts integers
    const ranks = [];
    const rankOf = (column) => {
      if (ranks[column]) return ranks[column];
      const values = rows.map(keys[column]), none = (v) => v === null || v === "";
      const order = [...new Set(values.filter((v) => !none(v)))].sort((a, b) => (typeof a === "number" ? a - b : collator.compare(a, b)));
      const place = new Map(order.map((v, i) => [v, i]));
      return (ranks[column] = values.map((v) => (none(v) ? -1 : place.get(v))));
    };
    const all = rows.map((_, i) => i);
    let order = all, shown = all, page = 0, sorted = -1, down = false;
    const show = () => {
      const last = Math.max(1, Math.ceil(shown.length / PAGE));
      page = Math.min(page, last - 1);
      const here = shown.slice(page * PAGE, (page + 1) * PAGE);
      body.replaceChildren(...here.map((i) => {
        const tr = make("tr");
        tr.append(...draw(rows[i]));
        return tr;
      }));
      if (!here.length) {
        const td = make("td", `No ${what} fits.`, "muted");
        td.colSpan = keys.length;
        body.append(make("tr"));
        body.lastChild.append(td);
      }
      const many = rows.length === 1 ? what : what === "person" ? "people" : what + "s";
      found.textContent = shown.length === rows.length ? `${thousands(rows.length)} ${many}` : `${thousands(shown.length)} of ${thousands(rows.length)} ${many}`;
      pager.hidden = last < 2;
      where.textContent = `${thousands(page * PAGE + 1)}–${thousands(page * PAGE + here.length)} of ${thousands(shown.length)}`;
      back.disabled = page === 0;
      on.disabled = page === last - 1;
    };
    const filter = () => {
      const wanted = plain(words.value).split(/\s+/).filter(Boolean);
      shown = order.filter((i) => fits(rows[i], form.elements) && wanted.every((w) => texts[i].includes(w)));
      page = 0;
      show();
    };
    const heads = [...view.tHead.rows[0].cells];
    const sort = (column) => {
      down = sorted === column ? !down : false;
      sorted = column;
      const rank = rankOf(column), sign = down ? -1 : 1;
      // what is not known stands last either way
      order = [...all].sort((a, b) => (rank[a] < 0) - (rank[b] < 0) || sign * (rank[a] - rank[b]) || a - b);
      heads.forEach((th, i) => (i === column ? th.setAttribute("aria-sort", down ? "descending" : "ascending") : th.removeAttribute("aria-sort")));
      filter();
    };
    heads.forEach((th, column) => {
      const button = make("button", th.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(column));
      th.replaceChildren(button);
    });
    form.hidden = false;
    for (const region of section.querySelectorAll(".scroll")) region.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", filter);
    const turn = (step) => { page += step; show(); view.scrollIntoView({ block: "nearest" }); };
    back.addEventListener("click", () => turn(-1));
    on.addEventListener("click", () => turn(1));
    show();
  };

  const share = (part, whole) => (whole && part !== null ? part / whole : null);
  table("table-samples", {
    rows,
    what: "sample",
    keys: [(r) => r[NAME], (r) => r[STATUS], (r) => r[SUBJECT], (r) => r[SPLIT], (r) => r[FRAMES], (r) => share(r[FACES], r[FRAMES]), (r) => share(r[MEASURED], r[FRAMES]), (r) => r[KEPT], (r) => r[SECONDS]],
    text: (r) => [r[NAME], r[SUBJECT], r[REASON], r[STATUS]].join("\n"),
    fits: (r, { status, split }) => (!status.value || r[STATUS] === status.value) && (!split || !split.value || r[SPLIT] === split.value),
    draw: (r) => {
      const status = cell(make("span", r[STATUS], "key s-" + r[STATUS]));
      if (r[REASON]) status.append(make("span", r[REASON], "reason"));
      return [head(linked(r, r[NAME])), status, cell(r[SUBJECT]), cell(r[SPLIT]), number(r[FRAMES], thousands), number(share(r[FACES], r[FRAMES]), percent), number(share(r[MEASURED], r[FRAMES]), percent), number(r[KEPT], thousands), number(r[SECONDS], seconds)];
    },
  });

  const people = read("people-rows");
  const MOST = 12;
  const tracksOf = ([, faces, tracks]) => {
    const nodes = [], listed = Math.min(MOST, tracks.length / 2);
    for (let i = 0; i < 2 * listed; i += 2) {
      const row = rows[tracks[i]];
      if (i) nodes.push(", ");
      nodes.push(row ? linked(row, `${row[NAME]} ${tracks[i + 1]}`) : "?");
    }
    if (faces > listed) nodes.push(` and ${thousands(faces - listed)} more`);
    const td = make("td");
    td.append(...nodes);
    return td;
  };
  table("table-people", {
    rows: people,
    what: "person",
    keys: [(p) => p[0], (p) => p[4].join(", "), (p) => p[3].join(", "), (p) => p[1], (p) => p[5], (p) => p[1]],
    text: (p) => [...p[3], ...p[4], ...p[2].filter((_, i) => !(i % 2)).map((i) => (rows[i] ? rows[i][NAME] : ""))].join("\n"),
    draw: (p) => [
      head(String(p[0]), "n"),
      p[4].length > 1 ? cell(make("span", p[4].join(", "), "key s-decode_error")) : cell(p[4].join(", ")),
      cell(p[3].join(", ")),
      number(p[1], thousands),
      number(p[5], (s) => s.toFixed(2).replace("-", "−")),
      tracksOf(p),
    ],
  });

  const bySubject = new Map();
  for (const r of rows) {
    if (!r[SUBJECT]) continue;
    let one = bySubject.get(r[SUBJECT]);
    if (!one) bySubject.set(r[SUBJECT], (one = { name: r[SUBJECT], splits: new Set(), samples: 0, frames: 0, faces: 0, kept: 0 }));
    if (r[SPLIT]) one.splits.add(r[SPLIT]);
    one.samples += 1;
    one.frames += r[FRAMES];
    one.faces += r[FACES];
    one.kept += r[KEPT];
  }
  const kept = rows.reduce((sum, r) => sum + r[KEPT], 0);
  const splitsOf = (s) => [...s.splits].sort().join(", ");
  table("table-subjects", {
    rows: [...bySubject.values()].sort((a, b) => b.kept - a.kept),
    what: "subject",
    keys: [(s) => s.name, splitsOf, (s) => s.samples, (s) => s.frames, (s) => share(s.faces, s.frames), (s) => s.kept, (s) => share(s.kept, kept)],
    text: (s) => s.name + "\n" + splitsOf(s),
    draw: (s) => [head(s.name), cell(splitsOf(s)), number(s.samples, thousands), number(s.frames, thousands), number(share(s.faces, s.frames), percent), number(s.kept, thousands), number(share(s.kept, kept), percent)],
  });
})();
