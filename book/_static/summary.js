/* The book in five minutes: scenes drawn on a canvas beside the captions that the page
   holds as a list (book/index.md). Numbers are those of summary_data.js
   (tools/summary.py). Nothing moves before it is asked to; where less motion is wanted
   each scene is shown as it ends. */
"use strict";
(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const MOVES = 9, LEAST = 20, WORDS_A_SECOND = 2; // seconds a scene moves, and stays
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const clamp = (v, low = 0, high = 1) => Math.min(high, Math.max(low, v));
  const ease = p => p * p * (3 - 2 * p);
  /* Progress between two moments of a scene. */
  const part = (p, from, to) => ease(clamp((p - from) / (to - from)));
  const mix = (a, b, p) => a + (b - a) * p;

  /* The value between stored steps. */
  function between(steps, values, t) {
    let i = steps.findIndex(step => step >= t);
    if (i <= 0) return values[i === 0 ? 0 : values.length - 1];
    const p = (t - steps[i - 1]) / (steps[i] - steps[i - 1]);
    return values[i - 1] === null || values[i] === null ? null : mix(values[i - 1], values[i], p);
  }

  function height(bulk, x) {
    const i = bulk.x.findIndex(v => v >= x);
    if (i < 0) return 0;
    if (i === 0) return bulk.y[0];
    return mix(bulk.y[i - 1], bulk.y[i], (x - bulk.x[i - 1]) / (bulk.x[i] - bulk.x[i - 1]));
  }

  class Stage {
    constructor(canvas) {
      this.canvas = canvas;
      this.pen = canvas.getContext("2d");
    }

    begin(figure) {
      const ratio = window.devicePixelRatio || 1, style = getComputedStyle(figure);
      const width = this.canvas.clientWidth, tall = width < 520 ? 300 : 340;
      this.canvas.style.height = `${tall}px`;
      Object.assign(this.canvas, {width: width * ratio, height: tall * ratio});
      this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      Object.assign(this, {width, tall, small: width < 520, floor: tall - 44, left: 46, right: width - 18, top: 26});
      for (const name of ["theory", "simulation", "baseline", "edge", "bulk", "ground"])
        this[name] = style.getPropertyValue(`--${name}`).trim();
    }

    axes([x0, x1], [y0, y1], xlabel, ylabel = "") {
      this.x = v => this.left + (v - x0) / (x1 - x0) * (this.right - this.left);
      this.y = v => this.floor - (v - y0) / (y1 - y0) * (this.floor - this.top);
      this.line([[this.left, this.floor], [this.right, this.floor]], this.simulation, 1);
      this.text(xlabel, (this.left + this.right) / 2, this.tall - 8);
      if (!ylabel) return;
      this.line([[this.left, this.top - 6], [this.left, this.floor]], this.simulation, 1);
      this.text(ylabel, this.left - 36, 13, {align: "left"});
    }

    ticks(values, along, digits = 1) {
      for (const v of values) {
        const word = v.toFixed(digits);
        if (along === "x") {
          this.line([[this.x(v), this.floor], [this.x(v), this.floor + 4]], this.simulation, 1);
          this.text(word, this.x(v), this.floor + 18, {size: 12});
        } else {
          this.line([[this.left - 4, this.y(v)], [this.left, this.y(v)]], this.simulation, 1);
          this.text(word, this.left - 7, this.y(v) + 4, {size: 12, align: "right"});
        }
      }
    }

    line(points, colour, width = 2, dash = []) {
      const {pen} = this;
      pen.beginPath();
      let down = false;
      for (const point of points) {
        if (!point || point[1] === null) { down = false; continue; }
        if (down) pen.lineTo(...point); else pen.moveTo(...point);
        down = true;
      }
      Object.assign(pen, {strokeStyle: colour, lineWidth: width, lineJoin: "round"});
      pen.setLineDash(dash);
      pen.stroke();
      pen.setLineDash([]);
    }

    /* A curve of data, drawn as far as p. */
    curve(xs, ys, colour, width = 2.5, dash = [], p = 1) {
      const last = p * (xs.length - 1), full = Math.floor(last);
      const points = xs.slice(0, full + 1).map((v, i) => ys[i] === null ? null : [this.x(v), this.y(ys[i])]);
      if (full < last && ys[full] !== null && ys[full + 1] !== null && ys[full + 1] !== undefined) {
        const rest = last - full;
        points.push([this.x(mix(xs[full], xs[full + 1], rest)), this.y(mix(ys[full], ys[full + 1], rest))]);
      }
      this.line(points, colour, width, dash);
    }

    dot(x, y, radius, colour, alpha = 1, hollow = false) {
      const {pen} = this;
      pen.globalAlpha = alpha;
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      if (hollow) Object.assign(pen, {strokeStyle: colour, lineWidth: 2.5}), pen.stroke();
      else pen.fillStyle = colour, pen.fill();
      pen.globalAlpha = 1;
    }

    diamond(x, y, size, colour) {
      const corners = [[x, y - size], [x + size, y], [x, y + size], [x - size, y], [x, y - size]];
      const {pen} = this;
      pen.beginPath();
      corners.forEach((corner, i) => i ? pen.lineTo(...corner) : pen.moveTo(...corner));
      Object.assign(pen, {fillStyle: this.ground, strokeStyle: colour, lineWidth: 2.5});
      pen.fill();
      pen.stroke();
    }

    text(words, x, y, {size = 13, align = "center", colour = this.simulation, alpha = 1, bold = false} = {}) {
      Object.assign(this.pen, {font: `${bold ? "600 " : ""}${size}px system-ui, sans-serif`, fillStyle: colour, textAlign: align,
        globalAlpha: alpha});
      this.pen.fillText(words, x, y);
      this.pen.globalAlpha = 1;
    }

    arrow(x0, y0, x1, y1, colour, p = 1, width = 2) {
      const [x, y] = [mix(x0, x1, p), mix(y0, y1, p)], turn = Math.atan2(y1 - y0, x1 - x0);
      this.line([[x0, y0], [x, y]], colour, width);
      const wing = side => [x - 9 * Math.cos(turn + side), y - 9 * Math.sin(turn + side)];
      if (p > 0.05) this.line([wing(0.45), [x, y], wing(-0.45)], colour, width);
    }
  }

  /* The bulk and the dots of one network at step t. */
  function crowd(stage, data, t, fall = 1) {
    stage.axes([0, 1.95], [0, 1.12], "singular value");
    stage.ticks([0, 0.5, 1, 1.5], "x");
    const {pen} = stage, {bulk} = data;
    const curve = bulk.x.map((x, i) => [stage.x(x), stage.y(bulk.y[i])]);
    pen.globalAlpha = part(fall, 0.6, 1);
    pen.beginPath();
    [[stage.x(0), stage.floor], ...curve].forEach((point, i) => i ? pen.lineTo(...point) : pen.moveTo(...point));
    pen.fillStyle = stage.bulk;
    pen.fill();
    stage.line(curve, stage.theory, 2.5);
    stage.line([[stage.x(data.edge), stage.top + 24], [stage.x(data.edge), stage.floor]], stage.edge, 1.5, [2, 4]);
    stage.text(`edge ${data.edge.toFixed(2)}`, stage.x(data.edge), stage.top + 18);
    pen.globalAlpha = 1;
    const count = data.dots[0].length;
    for (let i = 0; i < count; i++) {
      const x = between(data.seen, data.dots.map(values => values[i]), t);
      const share = (0.5 + i * 0.618034) % 1, settled = part(fall, 0.6 * ((i * 0.381966) % 1), 0.6 * ((i * 0.381966) % 1) + 0.4);
      const at = stage.floor - 4 - share * Math.max(0, stage.floor - stage.y(height(bulk, x)) - 8);
      const out = x > data.edge;
      stage.dot(stage.x(x), mix(-10, out ? stage.floor - 5 : at, settled), out ? 5.5 : stage.small ? 2 : 2.6, stage.simulation, out ? 1 : 0.62);
    }
  }

  const SCENES = {
    crowd: (stage, data, p) => crowd(stage, data, 0, p),

    leaves(stage, data, p) {
      const t = 40 * part(p, 0.08, 1), steps = data.theory.map((_, i) => i);
      crowd(stage, data, t);
      const outlier = between(steps, data.theory, t);
      if (outlier !== null) {
        stage.dot(stage.x(outlier), stage.floor - 5, 11, stage.theory, 1, true);
        stage.text(`theory ${outlier.toFixed(2)}`, stage.x(outlier), stage.floor - 24, {colour: stage.theory, bold: true});
      }
      stage.text(`step ${Math.round(t)}`, stage.left, 18, {align: "left", bold: true});
      stage.text(`test loss ${between(steps, data.loss, t).toFixed(2)}`, stage.right, 18, {align: "right"});
    },

    adds(stage, data, p) {
      const n = 14, cell = Math.min((stage.tall - 96) / n, (stage.width - 170) / n), {pen} = stage;
      const x0 = stage.width / 2 - cell * n / 2 + 10, y0 = 34;
      const noise = (i, j) => ((Math.sin(12.9898 * (i + 1) + 78.233 * (j + 1)) * 43758.5453) % 1 + 1) % 1;
      const wave = (k, shift) => Math.sin(1.7 * k + shift) * (0.55 + 0.45 * Math.cos(0.9 * k));
      const [up, down, added] = [part(p, 0.05, 0.3), part(p, 0.3, 0.55), part(p, 0.6, 0.95)];
      const square = (x, y, value, alpha, grey) => {
        pen.globalAlpha = alpha * Math.abs(value);
        pen.fillStyle = grey ? stage.simulation : value > 0 ? stage.theory : stage.baseline;
        pen.fillRect(x, y, cell - 1.5, cell - 1.5);
        pen.globalAlpha = 1;
      };
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          const [x, y] = [x0 + j * cell, y0 + i * cell];
          square(x, y, noise(i, j), 0.35 * (1 - 0.45 * added), true);
          square(x, y, wave(i, 0.4) * wave(j, 2.1), added, false);
        }
      for (let k = 0; k < n; k++) {
        square(x0 + k * cell, y0 + n * cell + 10, wave(k, 2.1), up, false);
        square(x0 - cell - 10, y0 + k * cell, wave(k, 0.4), down, false);
      }
      stage.text("signal h", x0 + n * cell / 2, y0 + n * cell + cell + 28, {colour: stage.simulation, alpha: up, bold: true});
      stage.text("error g", x0 - cell - 18, y0 + n * cell / 2, {align: "right", alpha: down, bold: true});
      stage.text("M + g hᵀ", x0 + n * cell / 2, 20, {alpha: added, bold: true});
      stage.text("M", x0 + n * cell / 2, 20, {alpha: 1 - added, bold: true});
      stage.arrow(x0 + n * cell + 20, y0 + n * cell, x0 + n * cell + 20, y0 + 6, stage.theory, up);
      stage.arrow(x0 + n * cell + 38, y0 + 6, x0 + n * cell + 38, y0 + n * cell, stage.baseline, down);
    },

    textbook(stage, data, p) {
      stage.axes([1.35, stage.small ? 1.95 : 1.84], [0, 1], "largest singular value");
      stage.ticks([1.4, 1.5, 1.6, 1.7, 1.8], "x");
      const rows = [stage.y(0.8), stage.y(0.5), stage.y(0.2)], last = data.mean.length - 1;
      stage.line([[stage.x(data.edge), stage.top], [stage.x(data.edge), stage.floor]], stage.edge, 1.5, [2, 4]);
      stage.text("edge", stage.x(data.edge) + 6, stage.top + 6, {align: "left"});
      const end = [data.independent.at(-1), data.theory.at(-1), data.mean[last]];
      const words = ["textbook, independent spike", "this book", `${data.made.seeds} trained networks`];
      const colours = [stage.baseline, stage.theory, stage.simulation];
      rows.forEach((row, i) => {
        const moved = part(p, 0.1 + 0.25 * i, 0.4 + 0.25 * i), x = stage.x(mix(data.edge, end[i], moved));
        if (moved === 0) return;
        stage.line([[stage.x(data.edge), row], [x, row]], colours[i], 2, i ? [] : [6, 4]);
        if (i === 0) stage.diamond(x, row, 7, colours[0]);
        else if (i === 1) stage.dot(x, row, 8, colours[1], 1, true);
        else {
          const reach = stage.x(end[2] + data.error[last]) - stage.x(end[2]);
          stage.line([[x - reach, row], [x + reach, row]], colours[2], 5);
          stage.dot(x, row, 5, colours[2]);
        }
        const says = i === 2 ? `${end[2].toFixed(2)} ± ${data.error[last].toFixed(2)}` : end[i].toFixed(2);
        stage.text(says, x + 12, row + 5, {align: "left", colour: colours[i], bold: true, alpha: moved});
        stage.text(words[i], stage.x(data.edge) + 6, row - 12, {align: "left", alpha: moved});
      });
    },

    stranger(stage, data, p) {
      const {strength, theory, independent, mean, error} = data.spike;
      stage.axes([0, 1.65], [1.9, 2.9], "strength θ of the spike", "largest singular value");
      stage.ticks([0, 0.5, 1, 1.5], "x");
      stage.ticks([2, 2.4, 2.8], "y");
      stage.line([[stage.left, stage.y(2)], [stage.right, stage.y(2)]], stage.edge, 1.5, [2, 4]);
      stage.text("edge", stage.left + 6, stage.y(2) + 16, {align: "left"});
      const drawn = [part(p, 0.05, 0.4), part(p, 0.4, 0.8)];
      stage.curve(strength, independent, stage.baseline, 2.5, [7, 4], drawn[0]);
      stage.curve(strength, theory, stage.theory, 3, [], drawn[1]);
      strength.forEach((theta, i) => {
        if (i % 4 === 3 && drawn[1] > i / strength.length) {
          stage.line([[stage.x(theta), stage.y(mean[i] - error[i])], [stage.x(theta), stage.y(mean[i] + error[i])]], stage.simulation, 1.5);
          stage.dot(stage.x(theta), stage.y(mean[i]), 4, stage.simulation);
        }
      });
      stage.text("made with the matrix", stage.x(0.08), stage.y(2.6), {align: "left", colour: stage.theory, bold: true, alpha: drawn[1]});
      stage.text("a stranger", stage.right, stage.y(2) + 16, {align: "right", colour: stage.baseline, bold: true, alpha: drawn[0]});
    },

    clocks(stage, data, p) {
      const n = stage.small ? 4 : 5, gap = (stage.width - 60) / n, y = 96, size = Math.min(48, gap * 0.6);
      const centre = k => 30 + gap * (k + 0.5), shown = [0, 6, 12, 24, 40].slice(0, n);
      if (stage.small) shown[n - 1] = 40;
      stage.text("training", 12, 18, {align: "left", bold: true});
      stage.arrow(12, y + size / 2 + 14, stage.width - 14, y + size / 2 + 14, stage.edge, part(p, 0, 0.5), 1.5);
      shown.forEach((step, k) => {
        const appears = part(p, 0.1 * k, 0.1 * k + 0.15), x = centre(k), {pen} = stage;
        pen.globalAlpha = appears;
        pen.fillStyle = stage.bulk;
        pen.fillRect(x - size / 2, y - size / 2, size, size);
        stage.line([[x - size / 2, y - size / 2], [x + size / 2, y - size / 2], [x + size / 2, y + size / 2], [x - size / 2, y + size / 2],
          [x - size / 2, y - size / 2]], stage.simulation, 1.2);
        stage.text(`M(${step})`, x, y + 5, {size: 12, alpha: appears});
        for (let earlier = 0; earlier < k; earlier++) {
          pen.globalAlpha = 0.75 * appears;
          pen.beginPath();
          pen.moveTo(centre(earlier), y - size / 2 - 3);
          pen.quadraticCurveTo((centre(earlier) + x) / 2, y - size / 2 - 16 - 17 * (k - earlier), x, y - size / 2 - 3);
          Object.assign(pen, {strokeStyle: stage.theory, lineWidth: 1.5});
          pen.stroke();
        }
        pen.globalAlpha = 1;
        const rings = part(p, 0.5 + 0.08 * k, 0.65 + 0.08 * k), low = stage.tall - 34, wide = gap * 0.78;
        if (!rings) return;
        stage.arrow(x, y + size / 2 + 22, x, low - 74, stage.edge, rings, 1.5);
        const at = v => x - wide / 2 + v / 1.95 * wide;
        stage.line([[at(0), low], [at(1.95), low]], stage.simulation, 1);
        pen.globalAlpha = rings;
        pen.beginPath();
        pen.moveTo(at(0), low);
        data.bulk.x.forEach((v, i) => pen.lineTo(at(v), low - 52 * data.bulk.y[i] * rings));
        pen.fillStyle = stage.bulk;
        pen.fill();
        stage.line(data.bulk.x.map((v, i) => [at(v), low - 52 * data.bulk.y[i] * rings]), stage.theory, 2);
        pen.globalAlpha = 1;
        const outlier = data.theory[step];
        if (outlier !== null) stage.line([[at(outlier), low], [at(outlier), low - 50 * rings]], stage.theory, 3);
      });
      stage.text("spectrum, at a moment held still", 12, stage.tall - 12, {align: "left", bold: true, alpha: part(p, 0.5, 0.65)});
    },

    story(stage, data, p) {
      const steps = data.theory.map((_, i) => i), drawn = part(p, 0.05, 0.9);
      stage.axes([0, 40], [1.36, 1.82], "step of training", "largest singular value of W¹");
      stage.ticks([0, 10, 20, 30, 40], "x", 0);
      stage.ticks([1.4, 1.5, 1.6, 1.7, 1.8], "y");
      stage.line([[stage.left, stage.y(data.edge)], [stage.right, stage.y(data.edge)]], stage.edge, 1.5, [2, 4]);
      const at_edge = values => values.map(v => v === null ? data.edge : v);
      stage.curve(steps, at_edge(data.independent), stage.baseline, 2.5, [7, 4], drawn);
      stage.curve(steps, at_edge(data.theory), stage.theory, 3, [], drawn);
      data.seen.forEach((step, i) => {
        if (drawn * 40 < step) return;
        const x = stage.x(step);
        stage.line([[x, stage.y(data.mean[i] - data.error[i])], [x, stage.y(data.mean[i] + data.error[i])]], stage.simulation, 1.5);
        stage.dot(x, stage.y(data.mean[i]), 4, stage.simulation);
      });
      const words = part(p, 0.5, 0.8);
      stage.text("theory", stage.x(12), stage.y(1.69), {colour: stage.theory, bold: true, alpha: words});
      stage.text("independent spikes", stage.x(29), stage.y(1.5), {colour: stage.baseline, bold: true, alpha: words});
    },

    knob(stage, data, p) {
      const {scales, steps, curves} = data.rich, widths = [2, 2.3, 2.6, 3];
      stage.axes([0, 40], [1.3, 2.05], "step of training", "largest singular value of W¹");
      stage.ticks([0, 10, 20, 30, 40], "x", 0);
      stage.ticks([1.4, 1.6, 1.8, 2], "y");
      scales.forEach((scale, i) => {
        const drawn = part(p, 0.05 + 0.2 * i, 0.3 + 0.2 * i), values = curves[i].map(v => v === null ? data.edge : v);
        if (!drawn) return;
        stage.curve(steps, values, stage.theory, widths[i], [[2, 4], [8, 4], [], []][i], drawn);
        const end = values.at(-1);
        stage.text(`output scale ${scale}`, stage.x(39.5), stage.y(end) - (i ? 8 : -17), {align: "right", colour: stage.theory, bold: true, alpha: drawn});
      });
    },

    end(stage, data, p) {
      crowd(stage, data, 40);
      const said = part(p, 0.1, 0.4), more = part(p, 0.5, 0.8);
      stage.text("chance", stage.x(0.62), stage.y(1) - 2, {bold: true, alpha: said, size: 15});
      ["what was", "learned"].forEach((word, i) =>
        stage.text(word, stage.x(1.74), stage.floor - 80 + 18 * i, {bold: true, alpha: more, size: 15, colour: stage.theory}));
      stage.arrow(stage.x(1.74), stage.floor - 54, stage.x(1.77), stage.floor - 16, stage.theory, more);
    },
  };

  function player(figure) {
    const list = figure.querySelector("ol"), captions = [...list.children], data = window.summaryData;
    const made = (name, parent, attributes = {}, words = "") => {
      const element = parent.appendChild(document.createElement(name));
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
      element.textContent = words;
      return element;
    };
    const canvas = made("canvas", figure, {"aria-hidden": "true"}), bar = made("div", figure, {class: "summary-bar"});
    figure.insertBefore(canvas, list);
    const back = made("button", bar, {type: "button"}, "Back"), play = made("button", bar, {type: "button"}, "Play");
    const next = made("button", bar, {type: "button"}, "Next"), count = made("span", bar, {class: "summary-count"});
    const track = made("div", bar, {class: "summary-track", "aria-hidden": "true"}), fill = made("span", track);
    const stage = new Stage(canvas);
    let scene = 0, seconds = MOVES, playing = false, stepping = false, running = false, before = 0;

    const stays = () => Math.max(LEAST, MOVES + 4, captions[scene].textContent.split(/\s+/).length / WORDS_A_SECOND);
    function draw() {
      if (!canvas.clientWidth) return;
      stage.begin(figure);
      SCENES[captions[scene].dataset.scene](stage, data, calm.matches ? 1 : clamp(seconds / MOVES));
      fill.style.width = `${100 * (scene + clamp(seconds / stays())) / captions.length}%`;
    }
    function show(number, from = 0) {
      scene = clamp(number, 0, captions.length - 1);
      seconds = from;
      captions.forEach((caption, i) => caption.hidden = i !== scene);
      count.textContent = `${scene + 1} of ${captions.length}`;
      back.disabled = scene === 0;
      next.disabled = scene === captions.length - 1;
      draw();
    }
    /* A scene that was asked for moves to its end and waits there; when playing the next one follows. */
    function frame(now) {
      seconds += Math.min(0.1, (now - before) / 1000);
      before = now;
      if (playing && seconds >= stays()) {
        if (scene + 1 < captions.length) show(scene + 1);
        else pause();
      }
      draw();
      running = playing || stepping && seconds < MOVES;
      if (running) requestAnimationFrame(frame);
    }
    function run() {
      if (running) return;
      running = true;
      before = performance.now();
      requestAnimationFrame(frame);
    }
    function pause() {
      playing = stepping = false;
      play.textContent = "Play";
    }
    function turn(by) {
      pause();
      const wanted = clamp(scene + by, 0, captions.length - 1);
      if (wanted === scene) return;
      show(wanted, calm.matches ? MOVES : 0);
      stepping = true;
      run();
    }
    back.addEventListener("click", () => turn(-1));
    next.addEventListener("click", () => turn(1));
    play.addEventListener("click", () => {
      if (playing) return pause();
      playing = true;
      play.textContent = "Pause";
      if (seconds >= MOVES) show(scene === captions.length - 1 ? 0 : scene);
      run();
    });
    figure.addEventListener("keydown", event => {
      const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
      if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      turn(by);
    });
    list.setAttribute("aria-live", "polite");
    figure.classList.add("summary-on");
    show(0, MOVES);
    new ResizeObserver(draw).observe(canvas.parentElement);
    new MutationObserver(draw).observe(document.documentElement, {attributes: true, attributeFilter: ["data-theme"]});
  }

  function start() {
    const figures = [...document.querySelectorAll(".summary")];
    if (!figures.length) return;
    const script = document.head.appendChild(document.createElement("script"));
    script.onload = () => figures.forEach(player);
    script.src = `${here}summary_data.js`;
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
