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
  const buttons = [...document.querySelectorAll("button[data-at]")];
  const frames = buttons.map((button) => [Number(button.dataset.frame), Number(button.dataset.at), button]);
  const near = document.createElement("img");
  near.hidden = true;
  at("near").prepend(near);
  slider.closest("[hidden]").hidden = false;

  const minus = (text) => text.replace("-", "−");
  const two = (n) => String(n).padStart(2, "0");
  const length = data.times ? data.span : 0;
  const clock = (t, step = 0.01) => {
    if (t < 60 && length < 60) return t.toFixed(step < 0.1 ? 2 : step < 1 ? 1 : 0) + " s";
    const s = Math.floor(t), part = step < 1 ? (t - s).toFixed(step < 0.1 ? 2 : 1).slice(1) : "";
    return (s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60) + part;
  };
  const write = (key, value) => {
    if (value === null || value === undefined) return "no value";
    const [unit, decimals] = data.units[key];
    const ends = (Array.isArray(value) ? value : [value]).map((v) => minus(v.toFixed(decimals)));
    const text = [...new Set(ends)].join(" … ");
    return text + (unit === "°" || !unit ? unit : " " + unit);
  };

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
    strips.push({ svg, scale, parts, raw: parts.raw_low ? { low: parts.raw_low, high: parts.raw_high || parts.raw_low } : null, own: ["line", "band", "faint", "gap"].map((kind) => [svg.querySelector("." + kind), kind]).map(([node, kind]) => [node, kind, node && node.getAttribute("d")]) });
    // a number where a bin has one, as the pages of short recordings have them
    data.values[key] = parts.low.map((low, i) => (low === null || parts.high[i] === low ? low : [low, parts.high[i]]));
  }
  const starts = new Set(data.breaks);
  const closely = (from, to) => {
    const n = data.edges.length - 1, x = (i) => (5 * (data.edges[i] + data.edges[i + 1])).toFixed(2);
    for (const { svg, scale, parts, raw, own } of strips) {
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
      const drawn = {
        line: () => line(parts),
        band: () => (data.exact ? "" : band(raw || parts)),
        faint: () => (data.exact && raw ? line(raw) : ""),
        gap: () => runs((i) => parts.low[i] === null).map(([a, b]) => `M${10 * data.edges[a]} 0H${10 * data.edges[b]}V100H${10 * data.edges[a]}Z`).join(""),
      };
      for (const [node, kind] of own) {
        if (node) node.setAttribute("d", drawn[kind]());
        else if (kind === "faint" && data.exact && raw) {
          const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
          path.setAttribute("class", "faint");
          path.setAttribute("d", drawn.faint());
          svg.querySelector(".line").before(path);
        }
      }
      own.forEach((one) => { one[0] = one[0] || svg.querySelector("." + one[1]); });
    }
  };
  const asWritten = () => {
    for (const { own } of strips) for (const [node, , d] of own) if (node) node.setAttribute("d", d || "");
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
  const view = (from, to) => {
    // never closer than four bins, never beyond the ends
    const least = Math.min(100, (4 * 100) / bins), width = Math.min(100, Math.max(least, to - from));
    left = Math.min(Math.max(0, from), 100 - width);
    right = left + width;
    if (width >= 99.99) { left = 0; right = 100; }
    for (const drawing of drawings) drawing.setAttribute("viewBox", `${10 * left} 0 ${10 * (right - left)} 100`);
    if (strips.length && left === 0 && right === 100) asWritten();
    else if (strips.length) closely(Math.max(0, binAt(left) - 1), Math.min(bins, binAt(right) + 2));
    at("zoom-in").disabled = width <= least * 1.01;
    at("zoom-out").disabled = at("zoom-all").disabled = left === 0 && right === 100;
    drawTicks();
    mark();
  };
  const zoom = (factor) => {
    const center = current < 0 ? (left + right) / 2 : middleOf(current), width = (right - left) / factor;
    const share = Math.min(1, Math.max(0, (center - left) / (right - left)));
    view(center - share * width, center + (1 - share) * width);
  };
  const show = (bin) => {
    current = bin;
    const middle = middleOf(bin), frame = data.frames[bin];
    if (middle < left || middle > right) view(middle - (right - left) / 2, middle + (right - left) / 2);
    else mark();
    const what = frame < 0 ? "no frame" : (data.picture ? "picture " : "frame ") + frame;
    says.textContent = (data.times ? clock(data.times[bin]) + ", " : "") + what;
    for (const [cell, key] of cells) {
      const bold = document.createElement("b");
      bold.textContent = key === "status" ? (data.words[data.status[bin]] || "no frame") : write(key, data.values[key][bin]);
      cell.replaceChildren(bold);
    }
    if (frames.length) {
      const [number, , button] = frames.reduce((a, b) => (Math.abs(b[1] - middle) < Math.abs(a[1] - middle) ? b : a));
      const picture = button.closest("figure").querySelector("img");
      if (near.dataset.frame !== String(number)) {
        near.dataset.frame = number;
        near.src = picture.src;
        near.alt = `the nearest small frame, ${number}`;
      }
      near.hidden = false;
      nearSays.textContent = `nearest: ${number}`;
      for (const [n, , one] of frames) one.closest("figure").classList.toggle("here", n === number);
    }
    slider.value = bin;
    slider.setAttribute("aria-valuetext", says.textContent);
  };
  const reset = () => {
    current = -1;
    mark();
    for (const [cell, , html] of cells) cell.innerHTML = html;
    says.textContent = "move over a curve";
    near.hidden = true;
    nearSays.textContent = "";
    for (const [, , one] of frames) one.closest("figure").classList.remove("here");
  };
  const shareAt = (plot, event) => {
    const box = plot.getBoundingClientRect();
    return left + ((right - left) * Math.min(Math.max(event.clientX - box.left, 0), box.width)) / box.width;
  };

  let drag = null;
  const paint = (to) => {
    for (const plot of plots) {
      if (to === null) plot.classList.remove("chosen");
      else {
        plot.classList.add("chosen");
        plot.style.setProperty("--from", place(Math.min(drag.share, to)) + "%");
        plot.style.setProperty("--to", place(Math.max(drag.share, to)) + "%");
      }
    }
  };
  course.addEventListener("pointermove", (event) => {
    if (drag) {
      const share = shareAt(drag.plot, event);
      drag.moved = drag.moved || Math.abs(event.clientX - drag.x) > 6;
      if (drag.moved) paint(share);
      show(binAt(share));
      return;
    }
    const plot = event.target.closest(".plot");
    if (plot && !pinned) show(binAt(shareAt(plot, event)));
  });
  course.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest(".plot");
    if (!plot || event.button) return;
    const share = shareAt(plot, event);
    show(binAt(share));
    pinned = event.pointerType !== "mouse";
    // a finger that moves scrolls the page: zoom is by the buttons there
    if (event.pointerType === "mouse") {
      drag = { plot, share, x: event.clientX, moved: false };
      plot.setPointerCapture(event.pointerId);
      event.preventDefault();
    }
  });
  const drop = (event) => {
    if (!drag) return;
    const { share, moved, plot } = drag, to = shareAt(plot, event);
    paint(null);
    drag = null;
    if (moved && event.type === "pointerup") view(Math.min(share, to), Math.max(share, to));
    else pinned = event.type === "pointerup" && !moved && !pinned;
  };
  course.addEventListener("pointerup", drop);
  course.addEventListener("pointercancel", drop);
  course.addEventListener("pointerleave", () => { if (!pinned && !drag) reset(); });
  course.addEventListener("dblclick", (event) => { if (event.target.closest(".plot")) view(0, 100); });
  slider.addEventListener("input", () => { pinned = true; show(Number(slider.value)); });
  at("zoom-in").addEventListener("click", () => zoom(2));
  at("zoom-out").addEventListener("click", () => zoom(0.5));
  at("zoom-all").addEventListener("click", () => view(0, 100));
  course.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const does = { "+": () => zoom(2), "=": () => zoom(2), "-": () => zoom(0.5), 0: () => view(0, 100), Escape: () => { pinned = false; reset(); view(0, 100); } }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
  for (const [, share, button] of frames) {
    button.addEventListener("click", () => {
      pinned = true;
      show(binAt(share));
      course.scrollIntoView({ block: "start" });
    });
  }
})();
