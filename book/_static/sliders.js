/* Figures with sliders, drawn as SVG from the files beside this one (sliders/NAME.js, made by tools/sliders.py, which
   says what is in them). A file is loaded as a script, so that pages opened from the file system work too. */
"use strict";
(() => {
  const folder = document.currentScript.src.replace(/[^/]*$/, "") + "sliders/";
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [340, 230, 46, 10, 10, 42];

  function element(parent, name, attributes = {}, text = "") {
    const svg = parent instanceof SVGElement || name === "svg";
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.textContent = text;
    return parent.appendChild(made);
  }

  /* Row-major index of a position of the knobs. */
  const index = (knobs, at) => knobs.reduce((sum, knob, k) => sum * knob.values.length + at[k], 0);

  /* As it is printed: large powers of ten as 10⁶. */
  function number(value) {
    const power = Math.round(Math.log10(value));
    if (power < 5 || value !== 10 ** power) return String(value).replace("-", "−");
    return "10" + [...String(power)].map(digit => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  }

  function ticks(from, to, log) {
    if (log) {
      const found = [], steps = to / from < 100 ? [1, 2, 5] : [1];
      for (let p = Math.floor(Math.log10(from)); p <= Math.log10(to); p++)
        found.push(...steps.map(m => +(m * 10 ** p).toPrecision(1)));
      return found.filter(v => v >= from * 0.999 && v <= to * 1.001);
    }
    const rough = (to - from) / 5, unit = 10 ** Math.floor(Math.log10(rough));
    const step = unit * [1, 2, 5, 10].find(m => m * unit >= rough);
    const found = [];
    for (let i = Math.ceil(from / step - 1e-9); i * step <= to + 1e-9 * step; i++) found.push(+(i * step).toPrecision(6));
    return found;
  }

  /* An empty panel with axes; returns the group to draw in and the scales. */
  function panel(parent, [x0, x1, y0, y1], xlabel, ylabel, log = false) {
    const svg = element(parent, "svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true"});
    const f = log ? Math.log : value => value;
    const x = v => LEFT + (f(v) - f(x0)) / (f(x1) - f(x0)) * (WIDTH - LEFT - RIGHT);
    const y = v => HEIGHT - BOTTOM - (v - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    const low = HEIGHT - BOTTOM;
    element(svg, "path", {class: "axis", d: `M${LEFT},${TOP}V${low}H${WIDTH - RIGHT}`});
    for (const v of ticks(x0, x1, log)) {
      element(svg, "path", {class: "axis", d: `M${x(v)},${low}v4`});
      element(svg, "text", {x: x(v), y: low + 16, "text-anchor": "middle"}, number(v));
    }
    for (const v of ticks(y0, y1, false)) {
      element(svg, "path", {class: "axis", d: `M${LEFT},${y(v)}h-4`});
      element(svg, "text", {x: LEFT - 7, y: y(v) + 4, "text-anchor": "end"}, number(v));
    }
    element(svg, "text", {x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 6, "text-anchor": "middle"}, xlabel);
    element(svg, "text", {transform: `translate(12,${(TOP + low) / 2})rotate(-90)`, "text-anchor": "middle"}, ylabel);
    const clip = "clip" + Math.random().toString(36).slice(2);
    element(element(svg, "clipPath", {id: clip}), "rect",
      {x: LEFT, y: TOP - 8, width: WIDTH - LEFT - RIGHT + 8, height: low - TOP + 16});
    return {x, y, low, layer: element(svg, "g", {"clip-path": `url(#${clip})`})};
  }

  /* Lines through the points that are there; null breaks them. */
  function line({x, y, layer}, style, xs, ys) {
    let d = "", down = false;
    xs.forEach((value, i) => {
      if (ys[i] !== null) d += `${down ? "L" : "M"}${x(value).toFixed(1)},${y(ys[i]).toFixed(1)}`;
      down = ys[i] !== null;
    });
    if (d) element(layer, "path", {class: style, d});
  }

  function marker({layer}, style, x, y) {
    if (style === "simulation") element(layer, "circle", {class: "mark simulation", cx: x, cy: y, r: 3.2});
    else element(layer, "path", {class: `mark ${style}`, d: `M${x - 6},${y - 11}h12l-6,11z`});
  }

  function drawSpectrum(panel, data, at) {
    for (const curve of data.spectrum.curves) {
      const i = index(curve.by.map(k => data.knobs[k]), curve.by.map(k => at[k]));
      line(panel, curve.style, curve.x[curve.x.length > 1 ? i : 0], curve.y[i]);
    }
    const row = data.table[index(data.knobs, at)];
    for (const k of [...data.spectrum.marks].reverse())
      if (row[k] !== null) marker(panel, data.numbers[k].style, panel.x(row[k]), panel.low);
  }

  function drawTrace(panel, data, at) {
    const {along, lines, points: [mean, error]} = data.trace, values = data.knobs[along].values;
    const rows = values.map((_, i) => data.table[index(data.knobs, at.map((own, k) => k === along ? i : own))]);
    const {x, y, layer} = panel, here = values[at[along]];
    element(layer, "path", {class: "cursor", d: `M${x(here)},${TOP}V${panel.low}`});
    for (const k of lines) line(panel, data.numbers[k].style, values, rows.map(row => row[k]));
    rows.forEach((row, i) => {
      if (row[mean] === null || row[mean] === undefined) return;
      element(layer, "path", {class: "bar", d: `M${x(values[i])},${y(row[mean] - row[error])}V${y(row[mean] + row[error])}`});
      marker(panel, "simulation", x(values[i]), y(row[mean]));
    });
    for (const k of lines) {
      const value = rows[at[along]][k], style = data.numbers[k].style;
      if (value !== null && style !== "edge")
        element(layer, "circle", {class: `mark ${style}`, cx: x(here), cy: y(value), r: 5});
    }
  }

  function readOut(data, at) {
    const row = data.table[index(data.knobs, at)], [mean, error] = data.trace.points;
    const said = data.numbers.map(({label}, k) => {
      if (k === error) return "";
      const there = row[k] !== null && row[k] !== undefined;
      if (k === mean) return there ? `${label}: ${number(row[k].toFixed(3))} ± ${row[error].toFixed(3)}` : "";
      return `${label}: ${there ? number(row[k].toFixed(3)) : "none"}`;
    });
    return data.knobs.map((knob, k) => `${knob.label} = ${number(knob.values[at[k]])}`).join(", ") + ". "
      + said.filter(text => text).join("; ") + ".";
  }

  function legend(parent, data) {
    const entries = new Map(data.spectrum.curves.map(curve => [curve.style, curve.label]));
    for (const k of data.trace.lines)
      if (!entries.has(data.numbers[k].style)) entries.set(data.numbers[k].style, data.numbers[k].label);
    if (data.trace.points.length) entries.set("simulation", data.numbers[data.trace.points[0]].label);
    const list = element(parent, "div", {class: "slider-legend", "aria-hidden": "true"});
    for (const [style, label] of entries) {
      const entry = element(list, "span");
      const key = element(entry, "svg", {viewBox: "0 0 26 12", width: 26, height: 12});
      if (style === "simulation") marker({layer: key}, style, 13, 6);
      else element(key, "path", {class: style, d: style === "histogram" || style === "bulk" ? "M2,11V3H24V11" : "M1,6H25"});
      entry.append(label);
    }
  }

  function build(place, data) {
    const at = data.knobs.map(knob => knob.start), id = `slider-${data.name}`;
    place.replaceChildren();
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", "Figure with sliders");
    const panels = element(place, "div", {class: "slider-panels", role: "img", "aria-label": data.alt});
    const {spectrum, trace} = data, values = data.knobs[trace.along].values;
    const left = panel(panels, spectrum.limits, spectrum.x, spectrum.y || "density");
    const right = panel(panels, [values[0], values.at(-1), ...trace.limits], data.knobs[trace.along].label,
                        trace.y, trace.log);
    legend(place, data);
    const sliders = data.knobs.map((knob, k) => {
      const row = element(place, "div", {class: "slider-row"});
      element(row, "label", {for: `${id}-${k}`}, knob.label);
      return element(row, "input", {type: "range", id: `${id}-${k}`, min: 0, max: knob.values.length - 1, step: 1,
                                    value: knob.start});
    });
    const output = element(place, "output", {for: sliders.map(slider => slider.id).join(" ")});
    const draw = () => {
      sliders.forEach((slider, k) => {
        at[k] = +slider.value;
        slider.setAttribute("aria-valuetext", number(data.knobs[k].values[at[k]]));
      });
      for (const {layer} of [left, right]) layer.replaceChildren();
      drawSpectrum(left, data, at);
      drawTrace(right, data, at);
      output.textContent = readOut(data, at);
    };
    for (const slider of sliders) slider.addEventListener("input", draw);
    draw();
  }

  window.sliderData = data =>
    document.querySelectorAll(`.slider-figure[data-name="${data.name}"]`).forEach(place => build(place, data));

  const load = () => {
    for (const name of new Set([...document.querySelectorAll(".slider-figure")].map(place => place.dataset.name)))
      element(document.head, "script", {src: `${folder}${name}.js`});
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", load);
  else load();
})();
