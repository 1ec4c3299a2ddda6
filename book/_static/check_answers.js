/* Answers to exercises, checked on the page. answers.js (tools/answers.py) holds hashes
   of what is right and of typical mistakes; an answer is rounded and hashed here in the
   same way. Numbers may be written as 0.41, 1e-3, sqrt(2/pi) or 3*log(2); formulas are
   chosen from a list. */
"use strict";
(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const SMALLEST = 1e-9;
  const FACTORS = {"2": 2, "4": 4, "the square root of 2": Math.SQRT2, "pi": Math.PI, "2 pi": 2 * Math.PI, "100": 100};

  function hashed(text) {
    let [one, two] = [0xDEADBEEF, 0x41C6CE57];
    for (const letter of new TextEncoder().encode(text)) {
      one = Math.imul(one ^ letter, 2654435761);
      two = Math.imul(two ^ letter, 1597334677);
    }
    one = Math.imul(one ^ (one >>> 16), 2246822507) ^ Math.imul(two ^ (two >>> 13), 3266489909);
    two = Math.imul(two ^ (two >>> 16), 2246822507) ^ Math.imul(one ^ (one >>> 13), 3266489909);
    return (BigInt(two >>> 0) % 2097152n * 4294967296n + BigInt(one >>> 0)).toString(16);
  }

  function key(value, tolerance) {
    if (Math.abs(value) < SMALLEST) return "0";
    return (value < 0 ? "-" : "+") + Math.floor(Math.log(Math.abs(value)) / tolerance + 0.5);
  }

  /* sum := product ((+|-) product)*, product := power ((*|/) power)*, and so on. */
  function number(text) {
    const tokens = text.match(/\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|[a-z]+|\*\*|[-+*/^()]/gi) || [];
    if (tokens.join("") !== text.replace(/\s/g, "")) return NaN;
    const names = {pi: Math.PI, e: Math.E};
    const functions = {sqrt: Math.sqrt, log: Math.log, exp: Math.exp, sin: Math.sin, cos: Math.cos, tanh: Math.tanh,
      arcsin: Math.asin, arccos: Math.acos, arctan: Math.atan};
    let at = 0;
    function atom() {
      const token = tokens[at++];
      if (token === "-") return -power();
      if (token === "+") return power();
      if (token === "(") return closed();
      if (functions[token] && tokens[at] === "(") return at++, functions[token](closed());
      return token in names ? names[token] : Number(token);
    }
    function closed() {
      const value = sum();
      return tokens[at++] === ")" ? value : NaN;
    }
    function power() {
      const negative = tokens[at] === "-";
      if (negative) at++;
      const base = atom();
      const value = ["^", "**"].includes(tokens[at]) ? (at++, base ** power()) : base;
      return negative ? -value : value;
    }
    function product() {
      let value = power();
      while (["*", "/"].includes(tokens[at])) value = tokens[at++] === "*" ? value * power() : value / power();
      return value;
    }
    function sum() {
      let value = product();
      while (["+", "-"].includes(tokens[at])) value = tokens[at++] === "+" ? value + product() : value - product();
      return value;
    }
    const value = sum();
    return at === tokens.length ? value : NaN;
  }

  const parts = text => text.replace(/^\s*[[({]|[\])}]\s*$/g, "").split(/[,;]/).map(part => part.trim()).filter(Boolean);

  function verdict(label, stored, text) {
    const whole = number(text.trim());
    const values = Number.isNaN(whole) ? parts(text).map(number) : [whole];
    const wanted = stored.right.length;
    if (!text.trim()) return "not answered yet";
    if (values.length !== wanted) return `wanted: ${wanted === 1 ? "a number" : `${wanted} numbers`}; given: ${values.length}`;
    if (values.some(value => !Number.isFinite(value))) return "this is not a number; write 0.41, 1e-3 or sqrt(2/pi)";
    const is = (hashes, changed) => hashes.every((some, place) =>
      some.includes(hashed(`${label}:${place}:${key(changed(values[place]), stored.tolerance)}`)));
    if (is(stored.right, x => x)) return "right";
    for (const [hint, hashes] of Object.entries(stored.hints)) if (is(hashes, x => x)) return hint;
    if (is(stored.right, x => -x)) return "the sign is wrong";
    for (const [name, factor] of Object.entries(FACTORS)) {
      if (is(stored.right, x => x / factor)) return `too large by a factor of ${name}`;
      if (is(stored.right, x => x * factor)) return `too small by a factor of ${name}`;
    }
    if (is(stored.right, x => Math.sqrt(Math.abs(x)))) return "this is the square of the answer";
    if (is(stored.right, x => x * x)) return "this is the square root of the answer";
    if (is(stored.right, x => 1 / x)) return "this is one over the answer";
    if (wanted === 1) return "wrong";
    const wrong = stored.right.map((some, place) =>
      some.includes(hashed(`${label}:${place}:${key(values[place], stored.tolerance)}`)) ? null : stored.names[place] || `${place + 1}.`);
    const places = wrong.filter(Boolean);
    return places.length === wanted ? "wrong" : `wrong: ${places.join(", ")}; right elsewhere`;
  }

  /* Of a formula that was chosen. */
  function judged(label, stored, chosen) {
    if (chosen === undefined) return "not answered yet";
    const key = hashed(`${label}:0:${chosen}`);
    if (stored.right[0].includes(key)) return "right";
    const hint = Object.entries(stored.hints).find(([, hashes]) => hashes[0].includes(key));
    return hint ? hint[0] : "wrong";
  }

  /* A field for numbers; returns what was written. */
  function field(made, label, stored) {
    const wanted = stored.right.length;
    const asks = stored.names.length ? stored.names.join("; ") : wanted === 1 ? "a number" : `${wanted} numbers`;
    const caption = made.appendChild(document.createElement("label")), input = made.appendChild(document.createElement("input"));
    Object.assign(input, {type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: false, id: `answer-${label}`});
    caption.htmlFor = input.id;
    caption.textContent = `Your answer (${asks}${wanted > 1 ? ", with commas" : ""})`;
    return () => verdict(label, stored, input.value);
  }

  /* Formulas to choose from; returns the one that was chosen. */
  function options(made, label, stored) {
    const group = made.appendChild(document.createElement("fieldset"));
    group.appendChild(document.createElement("legend")).textContent = "Your answer: choose one";
    stored.choices.forEach((latex, i) => {
      const caption = group.appendChild(document.createElement("label")), input = caption.appendChild(document.createElement("input"));
      Object.assign(input, {type: "radio", name: `answer-${label}`, value: i, ariaLabel: latex});
      const formula = caption.appendChild(document.createElement("span"));
      formula.className = "math";
      formula.textContent = `\\(${latex}\\)`;
    });
    return () => judged(label, stored, stored.choices[group.querySelector(":checked")?.value]);
  }

  function form(exercise, label, stored) {
    const made = document.createElement("form");
    made.className = "answer-form";
    const says = (stored.choices ? options : field)(made, label, stored);
    const button = made.appendChild(document.createElement("button")), output = made.appendChild(document.createElement("output"));
    Object.assign(button, {type: "submit", textContent: "Check"});
    output.setAttribute("role", "status");
    made.addEventListener("submit", event => {
      event.preventDefault();
      output.textContent = says();
      output.className = output.textContent === "right" ? "answer-right" : "answer-wrong";
    });
    exercise.append(made);
    return made;
  }

  function start() {
    const exercises = [...document.querySelectorAll("div.exercise[id]")];
    if (!exercises.length) return;
    const script = document.head.appendChild(document.createElement("script"));
    script.onload = async () => {
      const known = exercises.filter(exercise => window.bookAnswers[exercise.id]);
      const forms = known.map(exercise => form(exercise, exercise.id, window.bookAnswers[exercise.id]));
      const chosen = forms.filter(made => made.querySelector("fieldset"));
      if (!chosen.length || !window.MathJax?.startup) return;
      await MathJax.startup.promise;
      MathJax.startup.promise = MathJax.typesetPromise(chosen);
    };
    script.src = `${here}answers.js`;
  }

  if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
  else start();
})();
