"use strict";
(() => {
  const root = document.documentElement;
  const SVG = "http://www.w3.org/2000/svg";
  // In a sandboxed frame of a notebook storage may be closed to the page.
  const kept = (() => { try { localStorage.getItem("lorikeet"); return localStorage; } catch { return null; } })();
  const recall = (name) => { try { return kept ? kept.getItem("lorikeet-" + name) : null; } catch { return null; } };
  const keep = (name, value) => { try { if (kept) kept.setItem("lorikeet-" + name, value); } catch { /* nothing depends on it */ } };
  addEventListener("error", (event) => { root.dataset.error = String(event.message); });

  const data = JSON.parse(document.getElementById("data").textContent);
  const state = { smoothing: Number(recall("smoothing") ?? data.smoothing), zoom: {}, logs: {}, hover: null };

  // Theme.
  const themeButton = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const nameTheme = () => { if (themeButton) themeButton.textContent = dark() ? "Light" : "Dark"; };
  if (recall("theme")) root.dataset.theme = recall("theme");
  if (themeButton) themeButton.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    keep("theme", root.dataset.theme);
    nameTheme();
  });
  nameTheme();

  // Numbers.
  const significant = (value, digits) => {
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-3) return value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(value.toPrecision(digits)));
  };
  const formats = {
    number: (value, digits) => significant(value, digits),
    percent: (value, digits) => significant(value * 100, digits) + " %",
    whole: (value) => Math.abs(value) >= 1e4 ? significant(value / 1e3, 3) + "k" : significant(value, 4),
    bytes: (value, digits) => value >= 2 ** 29 ? significant(value / 2 ** 30, digits) + " GiB" : significant(value / 2 ** 20, digits) + " MiB",
  };
  const xText = (chart, value) => chart.x === "step" ? String(Math.round(value)) : significant(value, 4) + " min";

  // Axes.
  const niceTicks = (low, high, count, base) => {
    const span = high - low;
    if (!(span > 0)) return [low];
    const raw = span / count / base;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) * base;
    const ticks = [];
    for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-9; tick += step) ticks.push(Math.abs(tick) < step * 1e-9 ? 0 : tick);
    return ticks;
  };
  const logTicks = (low, high) => {
    const ticks = [];
    const decades = Math.log10(high / low);
    for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
      for (const m of decades > 4 ? [1] : decades > 1.5 ? [1, 3] : [1, 2, 3, 5, 7]) {
        const tick = m * 10 ** power;
        if (tick >= low && tick <= high) ticks.push(tick);
      }
    }
    return ticks.length > 1 ? ticks : niceTicks(low, high, 4, 1);
  };

  // An exponential moving average over points, corrected for its start; gaps stay gaps.
  const smoothed = (ys, weight) => {
    let sum = 0, norm = 0;
    return ys.map((y) => {
      if (y === null) return null;
      sum = weight * sum + (1 - weight) * y;
      norm = weight * norm + (1 - weight);
      return sum / norm;
    });
  };

  const make = (name, attributes, parent) => {
    const element = document.createElementNS(SVG, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(element);
    return element;
  };
  const key = (series) => {
    const svg = make("svg", { viewBox: "0 0 14 8" });
    if (series.style === "dots") make("circle", { cx: 7, cy: 4, r: 3.2, class: "f" + series.color % 8 }, svg);
    else make("line", { x1: 0, x2: 14, y1: 4, y2: 4, "stroke-width": 2.4, class: "s" + series.color % 8, "stroke-dasharray": series.style === "dashed" ? "3 2" : "none" }, svg);
    return svg;
  };

  const charts = data.charts.map((chart) => ({ chart, figure: document.getElementById("chart-" + chart.id) })).filter((entry) => entry.figure);

  const ranges = (chart, useLog) => {
    const zoom = state.zoom[chart.x];
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const series of chart.series) for (const x of series.x) { x0 = Math.min(x0, x); x1 = Math.max(x1, x); }
    if (zoom) [x0, x1] = zoom;
    for (const series of chart.series) series.y.forEach((y, index) => {
      if (y === null || (useLog && y <= 0) || series.x[index] < x0 || series.x[index] > x1) return;
      y0 = Math.min(y0, y); y1 = Math.max(y1, y);
    });
    if (!(x1 > x0)) { x0 -= 0.5; x1 += 0.5; }
    if (y0 > y1) [y0, y1] = useLog ? [1, 10] : [0, 1];
    if (useLog) return [x0, x1, y0 / 1.12, y1 * 1.12];
    if (chart.zero) y0 = Math.min(0, y0);
    const pad = (y1 - y0 || Math.abs(y1) || 1) * 0.06;
    return [x0, x1, y0 >= 0 ? Math.max(0, y0 - pad) : y0 - pad, y1 + pad];
  };

  const path = (xs, ys, toX, toY) => {
    let text = "", pen = "M";
    for (let index = 0; index < xs.length; index++) {
      const y = ys[index] === null ? NaN : toY(ys[index]);
      if (!Number.isFinite(y)) { pen = "M"; continue; }
      text += pen + toX(xs[index]).toFixed(1) + " " + y.toFixed(1);
      pen = "L";
    }
    return text;
  };

  const draw = (entry) => {
    const { chart, figure } = entry;
    const plot = figure.querySelector(".plot");
    const width = Math.max(220, plot.clientWidth), height = figure.classList.contains("wide") ? (width < 520 ? 240 : 320) : 190;
    const useLog = state.logs[chart.id] ?? chart.log;
    const [x0, x1, y0, y1] = ranges(chart, useLog);
    const box = { left: 54, right: 10, top: 8, bottom: 22 };
    const toX = (x) => box.left + (x - x0) / (x1 - x0) * (width - box.left - box.right);
    const scale = useLog ? Math.log : (value) => value;
    const toY = (y) => useLog && y <= 0 ? NaN : height - box.bottom - (scale(y) - scale(y0)) / (scale(y1) - scale(y0)) * (height - box.top - box.bottom);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": chart.title });
    const clip = "clip-" + chart.id;
    make("rect", { x: box.left, y: 0, width: width - box.left - box.right, height: height - box.bottom + 1 }, make("clipPath", { id: clip }, make("defs", {}, svg)));
    const format = formats[chart.format] ?? formats.number;
    for (const tick of useLog ? logTicks(y0, y1) : niceTicks(y0, y1, height > 220 ? 6 : 4, chart.format === "bytes" ? 2 ** (y1 >= 2 ** 29 ? 30 : 20) : 1)) {
      make("line", { x1: box.left, x2: width - box.right, y1: toY(tick), y2: toY(tick), class: "grid" }, svg);
      make("text", { x: box.left - 7, y: toY(tick) + 4, "text-anchor": "end" }, svg).textContent = format(tick, 3);
    }
    for (const tick of niceTicks(x0, x1, Math.max(3, width / 85), 1)) {
      if (chart.x === "step" && tick !== Math.round(tick)) continue;
      make("text", { x: toX(tick), y: height - 5, "text-anchor": toX(tick) > width - 26 ? "end" : "middle" }, svg).textContent = xText(chart, tick);
    }
    make("line", { x1: box.left, x2: width - box.right, y1: height - box.bottom, y2: height - box.bottom, class: "axis" }, svg);
    const inside = make("g", { "clip-path": `url(#${clip})` }, svg);
    for (const mark of chart.marks ?? []) {
      make("title", {}, make("line", { x1: toX(mark.x), x2: toX(mark.x), y1: box.top, y2: box.top + 9, class: "mark" }, inside)).textContent = mark.text;
    }
    let points = 0;
    for (const series of chart.series) {
      const color = "s" + series.color % 8;
      const weight = chart.smooth && series.style === "line" && series.x.length > 8 ? state.smoothing : 0;
      if (weight > 0) make("path", { d: path(series.x, series.y, toX, toY), class: "raw " + color }, inside);
      const ys = weight > 0 ? smoothed(series.y, weight) : series.y;
      const line = make("path", { d: path(series.x, ys, toX, toY), class: "line " + color }, inside);
      if (series.style === "dashed") line.setAttribute("stroke-dasharray", "5 4");
      if (series.style === "dots" || series.x.length === 1) series.x.forEach((x, index) => {
        if (series.y[index] !== null && Number.isFinite(toY(series.y[index]))) make("circle", { cx: toX(x), cy: toY(series.y[index]), r: 3.2, class: "f" + series.color % 8 }, inside);
      });
      points += series.y.filter((y) => y !== null).length;
    }
    const select = make("rect", { y: box.top, height: height - box.top - box.bottom, width: 0, class: "select" }, svg);
    const cross = make("line", { y1: box.top, y2: height - box.bottom, class: "cross", visibility: "hidden" }, svg);
    plot.querySelector("svg.figure")?.remove();
    svg.classList.add("figure");
    plot.prepend(svg);
    figure.dataset.points = points;
    figure.dataset.series = chart.series.length;
    entry.view = { svg, cross, select, toX, width, height, box, fromX: (pixel) => x0 + (pixel - box.left) / (width - box.left - box.right) * (x1 - x0), format };
    point(entry);
  };

  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] < x) low = middle; else high = middle; }
    return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
  };

  // The crosshair stands in every chart over the same axis, the readout in the one under the pointer.
  const point = (entry) => {
    const { chart, figure, view } = entry;
    const hover = state.hover && state.hover.axis === chart.x ? state.hover : null;
    let tip = figure.querySelector(".tip");
    if (!hover || !view) { view?.cross.setAttribute("visibility", "hidden"); tip?.remove(); return; }
    const pixel = view.toX(hover.x);
    view.cross.setAttribute("x1", pixel); view.cross.setAttribute("x2", pixel);
    view.cross.setAttribute("visibility", pixel >= view.box.left && pixel <= view.width - view.box.right ? "visible" : "hidden");
    if (hover.id !== chart.id) { tip?.remove(); return; }
    if (!tip) { tip = document.createElement("div"); tip.className = "tip"; figure.querySelector(".plot").appendChild(tip); }
    tip.textContent = "";
    const title = document.createElement("b");
    title.textContent = chart.x === "step" ? "step " + Math.round(hover.x) : xText(chart, hover.x);
    tip.appendChild(title);
    for (const series of chart.series) {
      if (!series.x.length) continue;
      const at = nearest(series.x, hover.x);
      const line = document.createElement("div");
      const y = series.y[at];
      line.append(key(series), `${series.name}  ${y === null ? "not a finite number" : view.format(y, 5)}` + (series.x[at] === hover.x ? "" : `  (${chart.x === "step" ? "step " : ""}${xText(chart, series.x[at])})`));
      tip.appendChild(line);
    }
    const left = pixel + 14 + tip.offsetWidth > view.width ? pixel - 14 - tip.offsetWidth : pixel + 14;
    tip.style.left = Math.max(0, left) + "px";
    tip.style.top = view.box.top + 4 + "px";
  };

  const listen = (entry) => {
    const { chart, figure } = entry;
    const plot = figure.querySelector(".plot");
    let from = null;
    const place = (event) => (event.clientX - plot.getBoundingClientRect().left) * entry.view.width / Math.max(1, plot.clientWidth);
    plot.addEventListener("pointermove", (event) => {
      const pixel = place(event);
      const x = entry.view.fromX(pixel);
      const longest = chart.series.reduce((best, series) => series.x.length > (best?.x.length ?? 0) ? series : best, null);
      if (!longest) return;
      state.hover = { axis: chart.x, id: chart.id, x: longest.x[nearest(longest.x, x)] };
      if (from !== null) {
        entry.view.select.setAttribute("x", Math.min(from, pixel));
        entry.view.select.setAttribute("width", Math.abs(pixel - from));
      }
      charts.forEach(point);
    });
    plot.addEventListener("pointerdown", (event) => { if (event.pointerType === "mouse") from = place(event); });
    plot.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [a, b] = [entry.view.fromX(from), entry.view.fromX(place(event))].sort((p, q) => p - q);
      const wide = Math.abs(place(event) - from) > 8;
      from = null;
      entry.view.select.setAttribute("width", 0);
      if (wide) { state.zoom[chart.x] = [a, b]; drawAll(); }
    });
    plot.addEventListener("pointerleave", () => { from = null; entry.view.select.setAttribute("width", 0); state.hover = null; charts.forEach(point); });
    plot.addEventListener("dblclick", () => { delete state.zoom[chart.x]; drawAll(); });
    const legend = figure.querySelector(".legend");
    if (legend) for (const series of chart.series) {
      const item = document.createElement("span");
      item.append(key(series), series.name);
      legend.appendChild(item);
    }
    const log = figure.querySelector("button.log");
    if (!log) return;
    state.logs[chart.id] = chart.log;
    log.setAttribute("aria-pressed", String(chart.log));
    log.addEventListener("click", () => {
      state.logs[chart.id] = !state.logs[chart.id];
      log.setAttribute("aria-pressed", String(state.logs[chart.id]));
      draw(entry);
    });
  };

  const drawAll = () => {
    charts.forEach(draw);
    const reset = document.getElementById("reset");
    if (reset) reset.hidden = Object.keys(state.zoom).length === 0;
  };

  charts.forEach(listen);
  drawAll();
  const slider = document.getElementById("smoothing");
  if (slider) {
    slider.value = state.smoothing;
    slider.addEventListener("input", () => { state.smoothing = Number(slider.value); keep("smoothing", slider.value); drawAll(); });
  }
  document.getElementById("reset")?.addEventListener("click", () => { state.zoom = {}; drawAll(); });
  document.getElementById("copy")?.addEventListener("click", async (event) => {
    try { await navigator.clipboard.writeText(document.getElementById("command").textContent); event.target.textContent = "Copied"; } catch { event.target.textContent = "Select and copy it"; }
  });
  let pending = 0;
  new ResizeObserver(() => { cancelAnimationFrame(pending); pending = requestAnimationFrame(drawAll); }).observe(document.body);

  // While the run goes on the file is rewritten: a page that is opened from it looks again, unless somebody reads a value.
  if (data.running && location.protocol !== "about:" && window.top === window) {
    setInterval(() => { if (!document.hidden && !state.hover && Object.keys(state.zoom).length === 0) location.reload(); }, 15000);
  }
  root.dataset.ready = "1";
})();
