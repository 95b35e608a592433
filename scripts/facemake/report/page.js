"use strict";
(() => {
  const sheet = document.getElementById("sheet");
  for (const box of document.querySelectorAll("[data-layer]")) {
    box.addEventListener("change", () => sheet.classList.toggle("hide-" + box.dataset.layer, !box.checked));
  }
  const source = document.getElementById("cursor-data");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const course = document.getElementById("course");
  const slider = document.getElementById("cursor");
  const says = document.getElementById("cursor-says");
  const cells = [...course.querySelectorAll(".value[data-key]")].map((cell) => [cell, cell.dataset.key, cell.innerHTML]);
  slider.closest("[hidden]").hidden = false;

  const minus = (text) => text.replace("-", "−");
  const clock = (t) => {
    if (data.times[data.times.length - 1] < 60) return t.toFixed(2) + " s";
    const s = Math.floor(t), two = (n) => String(n).padStart(2, "0");
    return (s >= 3600 ? Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) : Math.floor(s / 60)) + ":" + two(s % 60);
  };
  const write = (key, value) => {
    if (value === null || value === undefined) return "no value";
    const [unit, decimals] = data.units[key];
    const text = (Array.isArray(value) ? value : [value]).map((v) => minus(v.toFixed(decimals))).join(" … ");
    return text + (unit === "°" || !unit ? unit : " " + unit);
  };
  const show = (bin) => {
    const middle = (data.edges[bin] + data.edges[bin + 1]) / 2;
    for (const plot of course.querySelectorAll(".plot")) plot.style.setProperty("--at", middle + "%");
    const frame = data.frames[bin];
    const what = frame < 0 ? "no frame" : (data.picture ? "picture " : "frame ") + frame;
    says.textContent = (data.times ? clock(data.times[bin]) + ", " : "") + what;
    for (const [cell, key] of cells) {
      const bold = document.createElement("b");
      bold.textContent = key === "status" ? (data.words[data.status[bin]] || "no frame") : write(key, data.values[key][bin]);
      cell.replaceChildren(bold);
    }
    slider.value = bin;
    slider.setAttribute("aria-valuetext", says.textContent);
  };
  const reset = () => {
    for (const plot of course.querySelectorAll(".plot")) plot.style.removeProperty("--at");
    for (const [cell, , html] of cells) cell.innerHTML = html;
    says.textContent = "move over a curve";
  };
  const binAt = (share) => {
    let low = 0, high = data.edges.length - 2;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (data.edges[middle] <= share) low = middle; else high = middle - 1;
    }
    return low;
  };
  let pinned = false;
  const follow = (event) => {
    const plot = event.target.closest(".plot");
    if (!plot) return;
    const box = plot.getBoundingClientRect();
    show(binAt((100 * (event.clientX - box.left)) / box.width));
  };
  course.addEventListener("pointermove", (event) => { if (!pinned) follow(event); });
  course.addEventListener("pointerdown", (event) => {
    if (!event.target.closest(".plot")) return;
    pinned = false; follow(event); pinned = event.pointerType !== "mouse" || event.detail === 0;
  });
  course.addEventListener("pointerleave", () => { if (!pinned) reset(); });
  slider.addEventListener("input", () => { pinned = true; show(Number(slider.value)); });
  course.addEventListener("keydown", (event) => { if (event.key === "Escape") { pinned = false; reset(); } });
  for (const button of document.querySelectorAll("button[data-at]")) {
    button.addEventListener("click", () => {
      pinned = true; show(binAt(Number(button.dataset.at)));
      course.scrollIntoView({ block: "start" });
    });
  }
})();
