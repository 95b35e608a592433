"use strict";
(() => {
  const sheet = document.getElementById("sheet");
  for (const box of document.querySelectorAll("[data-layer]")) {
    box.addEventListener("change", () => sheet.classList.toggle("hide-" + box.dataset.layer, !box.checked));
  }
  const source = document.getElementById("cursor-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const at = (id) => document.getElementById(id);
  const course = at("course"), slider = at("cursor"), says = at("cursor-says"), nearSays = at("near-says"), ticks = at("ticks");
  const cells = [...course.querySelectorAll(".value[data-key]")].map((cell) => [cell, cell.dataset.key, cell.innerHTML]);
  const plots = [...course.querySelectorAll(".plot")], drawings = plots.map((plot) => plot.querySelector("svg"));
  const whole = ticks.innerHTML, bins = data.edges.length - 1;
  const near = at("near-link"), nearPicture = document.createElement("img");
  near.append(nearPicture);
  slider.closest("[hidden]").hidden = false;

  const two = (n) => String(n).padStart(2, "0");
  const length = data.times ? data.span : 0, minutes = data.start + length >= 60;
  const clock = (t, step = 0.01) => {
    if (t < 0) return "−" + clock(-t, step);
    const decimals = step < 0.1 ? 2 : step < 1 ? 1 : 0, text = t.toFixed(decimals);
    if (!minutes) return text + " s";
    // what was rounded up may be the next minute
    const s = Math.floor(Number(text)), part = decimals ? text.slice(-decimals - 1) : "";
    return (s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60) + part;
  };
  const write = (key, value) => {
    const [unit, decimals] = data.units[key];
    const ends = (Array.isArray(value) ? value : [value]).map((v) => {
      const text = v.toFixed(decimals);
      return /[1-9]/.test(text) ? text.replace("-", "−") : text.replace("-", "");
    });
    const text = [...new Set(ends)].join(" … ");
    return text + (unit === "°" || !unit ? unit : " " + unit);
  };

  // a bit a bin, the lowest one of a byte first
  const flag = (bytes, i) => ((bytes.charCodeAt(i >> 3) >> (i & 7)) & 1) === 1;
  for (const bits of [data.there, data.present]) for (const key of Object.keys(bits)) bits[key] = atob(bits[key]);
  const sure = atob(data.sure), mixed = atob(data.mixed);

  // long recordings: finer bins than the page's own curves have, drawn when one looks closely
  const strips = [];
  const unpack = (text) => {
    const bytes = atob(text), numbers = new Uint16Array(bytes.length / 2);
    for (let i = 0; i < numbers.length; i++) numbers[i] = bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8);
    return numbers;
  };
  for (const [cell, key] of cells) {
    const packed = data.values[key];
    if (!packed || Array.isArray(packed)) continue;
    const { from, to, scale } = packed, value = (q) => (q === 65535 ? null : from + (q / 65534) * (to - from));
    const parts = {};
    for (const name of ["low", "high", "raw_low", "raw_high"]) if (packed[name] !== undefined) parts[name] = Array.from(unpack(packed[name]), value);
    parts.high = parts.high || parts.low;
    const svg = cell.closest(".strip").querySelector("svg");
    const raw = parts.raw_low ? { low: parts.raw_low, high: parts.raw_high || parts.raw_low } : null;
    const paths = [...svg.querySelectorAll("path:not(.zero)")].map((node) => [node, node.getAttribute("class"), node.getAttribute("d")]);
    strips.push({ key, scale, parts, raw, paths });
    // a number where a bin has one, as the pages of short recordings have them
    data.values[key] = parts.low.map((low, i) => (low === null || parts.high[i] === low ? low : [low, parts.high[i]]));
  }
  const starts = new Set(data.breaks);
  const closely = (from, to) => {
    const x = (i) => (5 * (data.edges[i] + data.edges[i + 1])).toFixed(2);
    for (const { key, scale, parts, raw, paths } of strips) {
      const there = (i) => flag(data.there[key], i);
      const y = (v) => (100 * (1 - Math.min(1, Math.max(0, (v - scale[0]) / (scale[1] - scale[0]))))).toFixed(1);
      const runs = (there) => {
        const found = [];
        for (let i = from; i < to; i++) {
          if (!there(i)) continue;
          const last = found[found.length - 1];
          if (last && last[1] === i && !starts.has(i)) last[1] = i + 1; else found.push([i, i + 1]);
        }
        return found;
      };
      const line = ({ low, high }) => runs((i) => low[i] !== null).map(([a, b]) => {
        let d = "M";
        for (let i = a; i < b; i++) d += `${i > a ? " " : ""}${x(i)} ${y((low[i] + high[i]) / 2)}`;
        return b - a > 1 ? d : d + "h0";
      }).join("");
      const band = ({ low, high }) => runs((i) => low[i] !== null).map(([a, b]) => {
        let d = "M";
        for (let i = a; i < b; i++) d += `${i > a ? " " : ""}${x(i)} ${y(high[i])}`;
        for (let i = b - 1; i >= a; i--) d += ` ${x(i)} ${y(low[i])}`;
        return d + "Z";
      }).join("");
      const boxes = (on, top) => runs(on).map(([a, b]) => `M${10 * data.edges[a]} ${top}H${10 * data.edges[b]}V100H${10 * data.edges[a]}Z`).join("");
      const drawn = {
        line: () => line(parts),
        band: () => (data.exact ? "" : band(raw || parts)),
        faint: () => (data.exact && raw ? line(raw) : ""),
        gap: () => boxes((i) => !there(i), 0),
        doubt: () => boxes((i) => there(i) && !flag(sure, i), 0),
        present: () => boxes((i) => flag(data.present[key], i), 88),
      };
      for (const [node, kind] of paths) node.setAttribute("d", drawn[kind]());
    }
  };
  const asWritten = () => {
    for (const { paths } of strips) for (const [node, , d] of paths) node.setAttribute("d", d);
  };

  // what is seen of the axis, 0-100
  let left = 0, right = 100, pinned = false, current = -1;
  const middleOf = (bin) => (data.edges[bin] + data.edges[bin + 1]) / 2;
  const place = (share) => (100 * (share - left)) / (right - left);
  const binAt = (share) => {
    let low = 0, high = bins - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (data.edges[middle] <= share) low = middle; else high = middle - 1;
    }
    return low;
  };
  // the bin of a frame: the last one that begins with it or before it
  const binOf = (frame) => data.frames.findLastIndex((first) => first >= 0 && first <= frame);
  const drawTicks = () => {
    at("shown").textContent = "";
    if (left === 0 && right === 100) { ticks.innerHTML = whole; return; }
    const from = data.start + (left / 100) * data.span, to = data.start + (right / 100) * data.span;
    const rough = (to - from) / 6, power = 10 ** Math.floor(Math.log10(rough));
    let step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough * 0.99);
    if (data.times && length >= 60 && step > 10) step = [15, 30, 60, 120, 300, 600, 1200, 1800, 3600].find((s) => s >= rough) || step;
    if (!data.times) step = Math.max(1, Math.round(step));
    ticks.replaceChildren();
    at("shown").textContent = data.times ? `${clock(from, step)} to ${clock(to, step)}` : `${Math.ceil(from)} to ${Math.floor(to)}`;
    for (let n = Math.ceil(from / step - 1e-9); n * step < to; n++) {
      const mark = document.createElement("span");
      mark.textContent = data.times ? clock(n * step, step) : String(n * step);
      const share = (100 * (n * step + (data.times || !data.exact ? 0 : 0.5) - data.start)) / data.span;
      mark.style.left = place(share).toFixed(2) + "%";
      if (place(share) < 2) mark.className = "edge";
      if (place(share) <= 100) ticks.append(mark);
    }
  };
  const mark = () => {
    for (const plot of plots) {
      if (current < 0) plot.style.removeProperty("--at");
      else plot.style.setProperty("--at", place(middleOf(current)) + "%");
    }
  };
  // never closer than four bins
  const least = Math.min(100, (4 * 100) / bins);
  const view = (from, to) => {
    const width = Math.min(100, Math.max(least, to - from));
    left = Math.min(Math.max(0, from), 100 - width);
    right = left + width;
    if (width >= 99.99) { left = 0; right = 100; }
    for (const drawing of drawings) drawing.setAttribute("viewBox", `${10 * left} 0 ${10 * (right - left)} 100`);
    if (strips.length && left === 0 && right === 100) asWritten();
    else if (strips.length) closely(Math.max(0, binAt(left) - 1), Math.min(bins, binAt(right) + 2));
    at("zoom-in").disabled = width <= least * 1.01;
    at("zoom-out").disabled = at("zoom-all").disabled = left === 0 && right === 100;
    evenHatch();
    drawTicks();
    mark();
  };
  // stripes of one width on the screen, however close one looks
  const evenHatch = () => {
    const wide = plots[0].clientWidth;
    if (wide) at("hatch").setAttribute("patternTransform", `scale(${(10 * (right - left)) / wide} 1)`);
  };
  new ResizeObserver(evenHatch).observe(plots[0]);
  // so much of the axis, with a place of it at a share (0-1) of the plot
  const around = (point, share, wanted) => {
    const width = Math.min(100, Math.max(least, wanted));
    view(point - share * width, point + (1 - share) * width);
  };
  const zoom = (factor) => {
    const center = current < 0 ? (left + right) / 2 : middleOf(current);
    around(center, Math.min(1, Math.max(0, place(center) / 100)), (right - left) / factor);
  };

  const small = [...document.querySelectorAll("button[data-frame]")].map((button) => {
    const frame = Number(button.dataset.frame);
    return { frame, bin: binOf(frame), button, figure: button.closest("figure") };
  });
  // pictures that stand alone have no neighbours that look like them
  const nearest = (bin) => {
    const middle = middleOf(bin), off = (one) => Math.abs(middleOf(one.bin) - middle);
    return small.filter((one) => !data.alone || one.bin === bin).reduce((a, b) => (a && off(a) <= off(b) ? a : b), null);
  };
  const showPicture = (one) => {
    near.hidden = !one;
    if (one && near.hash !== `#${one.figure.id}`) {
      near.href = `#${one.figure.id}`;
      near.title = `To ${data.thing} ${one.frame} on the contact sheet`;
      nearPicture.src = one.figure.querySelector("img").src;
      nearPicture.alt = `the nearest small ${data.thing}, ${one.frame}`;
    }
    for (const { figure } of small) figure.classList.toggle("here", Boolean(one) && figure === one.figure);
  };
  // of a long recording, a bin holds several
  const framesOf = (bin) => {
    const first = data.frames[bin], next = data.frames.find((other, i) => i > bin && other >= 0);
    const last = (next === undefined ? data.count : next) - 1;
    return last > first ? `${data.thing}s ${first}–${last}` : `${data.thing} ${first}` + (data.names[first] ? `, ${data.names[first]}` : "");
  };
  const bold = (text) => {
    const node = document.createElement("b");
    node.textContent = text;
    return node;
  };
  const saidOf = (key, bin) => {
    if (key === "status") return [bold(data.words[data.status[bin]] || `no ${data.thing}`), flag(mixed, bin) ? " mostly" : ""];
    const value = data.values[key][bin], present = data.present[key];
    if (present === undefined || !flag(data.there[key], bin)) return [bold(value === null ? "no value" : write(key, value))];
    const said = flag(present, bin) ? "present" : "absent";
    return value === null ? [bold(said)] : [bold(write(key, value)), ` ${said}`];
  };
  const show = (bin) => {
    current = bin;
    const middle = middleOf(bin), frame = data.frames[bin];
    if (middle < left || middle > right) view(middle - (right - left) / 2, middle + (right - left) / 2);
    else mark();
    says.textContent = (data.times ? clock(data.times[bin]) + ", " : "") + (frame < 0 ? `no ${data.thing}` : framesOf(bin));
    for (const [cell, key] of cells) cell.replaceChildren(...saidOf(key, bin));
    const one = nearest(bin);
    showPicture(one);
    nearSays.textContent = one ? `nearest: ${one.frame}` : small.length ? "not on the contact sheet" : "";
    slider.value = bin;
    slider.setAttribute("aria-valuetext", says.textContent);
  };
  const hold = (on) => {
    pinned = on;
    at("let-go").disabled = !on;
  };
  const reset = () => {
    hold(false);
    current = -1;
    mark();
    for (const [cell, , html] of cells) cell.innerHTML = html;
    says.textContent = "move over a curve";
    showPicture(null);
    nearSays.textContent = "";
  };
  const go = (frame) => {
    const bin = binOf(frame);
    if (bin < 0) return;
    hold(true);
    show(bin);
    course.scrollIntoView({ block: "start" });
  };

  const shareOf = (plot, x) => {
    const box = plot.getBoundingClientRect();
    return Math.min(Math.max(x - box.left, 0), box.width) / box.width;
  };
  const pointAt = (plot, x) => left + (right - left) * shareOf(plot, x);

  // a mouse: hovering shows, a click holds and lets go, dragging zooms
  let drag = null;
  const paint = (to) => {
    for (const plot of plots) {
      plot.classList.toggle("chosen", to !== null);
      if (to === null) continue;
      plot.style.setProperty("--from", place(Math.min(drag.point, to)) + "%");
      plot.style.setProperty("--to", place(Math.max(drag.point, to)) + "%");
    }
  };
  const mouse = {
    pointerdown: (event, plot) => {
      if (!plot || event.button) return;
      drag = { plot, point: pointAt(plot, event.clientX), x: event.clientX, moved: false, held: pinned };
      show(binAt(drag.point));
      plot.setPointerCapture(event.pointerId);
      event.preventDefault();
    },
    pointermove: (event, plot) => {
      if (drag) {
        const point = pointAt(drag.plot, event.clientX);
        drag.moved = drag.moved || Math.abs(event.clientX - drag.x) > 6;
        if (drag.moved) paint(point);
        show(binAt(point));
      } else if (plot && !pinned) show(binAt(pointAt(plot, event.clientX)));
    },
    pointerup: (event) => {
      if (!drag) return;
      const { point, moved, held, plot } = drag, to = pointAt(plot, event.clientX);
      paint(null);
      drag = null;
      if (moved) view(Math.min(point, to), Math.max(point, to));
      hold(moved ? held : !held);
    },
    pointercancel: () => {
      paint(null);
      drag = null;
    },
    pointerleave: () => { if (!pinned && !drag) reset(); },
  };

  // fingers: a tap holds, one that moves sideways takes the cursor along, two zoom; one that moves
  // up or down scrolls the page, of which the browser says by pointercancel
  const fingers = new Map();
  let tap = null, pinch = null, waiting = false;
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { far: Math.max(10, Math.hypot(a.x - b.x, a.y - b.y)), x: (a.x + b.x) / 2 };
  };
  const follow = () => {
    waiting = false;
    if (!pinch || fingers.size !== 2) return;
    const { far, x } = spread();
    around(pinch.point, shareOf(pinch.plot, x), (pinch.width * pinch.far) / far);
  };
  const lift = (event) => {
    fingers.delete(event.pointerId);
    tap = pinch = null;
  };
  const touch = {
    pointerdown: (event, plot) => {
      if (!plot && !fingers.size) return;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      tap = fingers.size === 1 ? { plot, x: event.clientX, moved: false } : null;
      if (fingers.size !== 2) return;
      const { far, x } = spread(), on = plot || plots[0];
      pinch = { plot: on, point: pointAt(on, x), width: right - left, far };
    },
    pointermove: (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      if (pinch && !waiting) {
        waiting = true;
        requestAnimationFrame(follow);
      }
      if (!tap) return;
      tap.moved = tap.moved || Math.abs(event.clientX - tap.x) > 8;
      if (!tap.moved) return;
      hold(true);
      show(binAt(pointAt(tap.plot, event.clientX)));
    },
    pointerup: (event) => {
      if (tap && !tap.moved) {
        hold(true);
        show(binAt(pointAt(tap.plot, event.clientX)));
      }
      lift(event);
    },
    pointercancel: lift,
    pointerleave: () => {},
  };
  for (const kind of Object.keys(mouse)) {
    course.addEventListener(kind, (event) => (event.pointerType === "mouse" ? mouse : touch)[kind](event, event.target.closest(".plot")));
  }
  course.addEventListener("dblclick", (event) => { if (event.target.closest(".plot")) view(0, 100); });
  // two fingers on a touchpad are a wheel with ctrl
  course.addEventListener("wheel", (event) => {
    const plot = event.target.closest(".plot");
    if (!plot || !event.ctrlKey) return;
    event.preventDefault();
    around(pointAt(plot, event.clientX), shareOf(plot, event.clientX), (right - left) * Math.exp(event.deltaY / 100));
  }, { passive: false });

  slider.addEventListener("input", () => {
    hold(true);
    show(Number(slider.value));
  });
  at("zoom-in").addEventListener("click", () => zoom(2));
  at("zoom-out").addEventListener("click", () => zoom(0.5));
  at("zoom-all").addEventListener("click", () => view(0, 100));
  at("let-go").addEventListener("click", () => {
    reset();
    slider.focus();
  });
  course.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = { "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => view(0, 100), Escape: () => { reset(); view(0, 100); } }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  for (const { frame, button } of small) button.addEventListener("click", () => go(frame));
  // PAGE.html#frame-120 opens at that frame
  const fromAddress = () => {
    const found = /^#frame-(\d+)$/.exec(location.hash);
    if (found) go(Number(found[1]));
  };
  addEventListener("hashchange", fromAddress);
  fromAddress();
})();
