/* A box that says what a symbol or a word means: on hover and tap for one symbol, on
   focus for all symbols of a formula, and for links to the glossary. The symbols come
   from the notation table, the words from the glossary (hover_data.js, made by
   _ext/hover.py). Escape closes the box; it moves nothing, so that there is no motion
   to reduce. */
"use strict";
(() => {
  const here = document.currentScript.src.replace(/[^/]*$/, "");
  const INDICES = new Set(["i", "j", "k", "l", "t", "a", "b"]);
  const known = new Map();
  let box, owner = null, data = null, typesetting = Promise.resolve();

  /* What a piece of a typeset formula looks like: elements and glyphs, no sizes. */
  function look(element) {
    if (element.tagName === "MJX-C") return element.className.split(" ")[0];
    const inner = [...element.children].map(look).join("");
    if (element.tagName === "MJX-TEXATOM" && element.children.length === 1) return inner;
    return inner && `${element.tagName.slice(4)}(${inner})`;
  }

  const leaf = element => element.matches("mjx-mi, mjx-mo, mjx-mn");

  function learn() {
    data.symbols.forEach((entry, row) => entry.symbols.forEach(latex => {
      const inside = MathJax.tex2chtml(latex).querySelector("mjx-math");
      const parts = [...inside.children];
      if (parts.length !== 1) return;
      known.set(look(parts[0]), row);
    }));
    // the base of h_k or of sigma^2, where it has no row of its own
    data.symbols.forEach((entry, row) => entry.symbols.forEach(latex => {
      const base = latex.match(/^(\\?[a-zA-Z]+)(?:\^2|_([a-z]))$/);
      if (!base || (base[2] && !INDICES.has(base[2]))) return;
      const part = MathJax.tex2chtml(base[1]).querySelector("mjx-math").children[0];
      if (!known.has(look(part))) known.set(look(part), row);
    }));
  }

  /* Marks the symbols of a formula, the largest pieces first; returns their rows. */
  function mark(element, rows) {
    const row = known.get(look(element));
    if (row !== undefined && !element.matches("mjx-math")) {
      element.classList.add("known-symbol");
      element.dataset.row = row;
      rows.add(row);
      return;
    }
    if (!leaf(element)) for (const child of element.children) mark(child, rows);
  }

  function line(parent, label, text) {
    if (!text) return;
    const part = parent.appendChild(document.createElement("p"));
    if (label) part.appendChild(document.createElement("strong")).textContent = `${label} `;
    part.append(text);
  }

  function symbolEntry(row) {
    const entry = data.symbols[row], part = document.createElement("div");
    line(part, `\\(${entry.symbols.join(",\\ ")}\\)`, entry.meaning);
    line(part, "Shape", entry.shape);
    line(part, "SymPy", entry.sympy);
    line(part, "dmftlib", entry.library);
    if (entry.equation.length) {
      const link = part.appendChild(document.createElement("p")).appendChild(document.createElement("a"));
      link.href = new URL(entry.equation[0], new URL("../book/notation.html", here));
      link.textContent = `first in ${entry.equation[1]}`;
    }
    return part;
  }

  function wordEntry(anchor, address) {
    const part = document.createElement("div");
    line(part, "", data.words[anchor]);
    const link = part.appendChild(document.createElement("p")).appendChild(document.createElement("a"));
    link.href = address;
    link.textContent = "in the glossary";
    return part;
  }

  function place(target) {
    const at = target.getBoundingClientRect(), width = Math.min(352, innerWidth - 16);
    box.style.width = `${width}px`;
    box.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8)) + scrollX}px`;
    const below = at.bottom + 6 + box.offsetHeight < innerHeight || at.top < box.offsetHeight + 6;
    box.style.top = `${(below ? at.bottom + 6 : at.top - 6 - box.offsetHeight) + scrollY}px`;
  }

  function show(target, parts) {
    if (owner) owner.removeAttribute("aria-describedby");
    owner = target;
    box.replaceChildren(...parts);
    box.hidden = false;
    const focusable = target.closest("mjx-container, a");
    if (focusable) focusable.setAttribute("aria-describedby", box.id);
    owner = focusable || target;
    place(target);
    // one after the other: MathJax does not do two things at once
    typesetting = typesetting.then(() => MathJax.typesetPromise([box])).then(() => {
      box.querySelectorAll("[tabindex]").forEach(e => e.removeAttribute("tabindex"));
      place(target);
    });
  }

  function hide() {
    if (box.hidden) return;
    box.hidden = true;
    if (owner) owner.removeAttribute("aria-describedby");
    owner = null;
  }

  const anchor = link => (link.hash || "").slice(1);
  const word = element => {
    const link = element.closest("main a[href*='#term-']");
    return link && data.words[anchor(link)] ? link : null;
  };

  function open(element, all) {
    const link = word(element);
    if (link) return show(link, [wordEntry(anchor(link), link.href)]), true;
    const formula = element.closest("main mjx-container");
    const one = all ? null : element.closest(".known-symbol");
    if (one) return show(one, [symbolEntry(+one.dataset.row)]), true;
    if (!all || !formula || !formula.dataset.rows) return false;
    return show(formula, formula.dataset.rows.split(" ").map(row => symbolEntry(+row))), true;
  }

  function listen() {
    let timer = 0, keyboard = false;
    document.addEventListener("keydown", event => {
      keyboard = true;
      if (event.key === "Escape") hide();
    });
    document.addEventListener("pointerdown", event => {
      keyboard = false;
      if (!box.contains(event.target) && !open(event.target, false)) hide();
    });
    // a tap on a word shows what it means; the way to the glossary is in the box
    document.addEventListener("click", event => {
      if (event.pointerType === "touch" && word(event.target)) event.preventDefault();
    });
    document.addEventListener("pointerover", event => {
      clearTimeout(timer);
      if (event.pointerType === "touch" || box.contains(event.target)) return;
      timer = setTimeout(() => open(event.target, false) || hide(), 150);
    });
    document.addEventListener("focusin", event => {
      if (keyboard && !box.contains(event.target)) open(event.target, true) || hide();
    });
  }

  async function start() {
    if (!window.MathJax || !MathJax.startup) return;
    await MathJax.startup.promise;
    await new Promise((done, failed) => {
      const script = document.head.appendChild(document.createElement("script"));
      [script.onload, script.onerror, script.src] = [done, failed, `${here}hover_data.js`];
    });
    data = window.hoverData;
    learn();
    for (const formula of document.querySelectorAll("main mjx-container")) {
      const rows = new Set();
      mark(formula.querySelector("mjx-math"), rows);
      if (rows.size) formula.dataset.rows = [...rows].join(" ");
    }
    box = document.body.appendChild(document.createElement("div"));
    [box.id, box.className, box.hidden] = ["hover-box", "hover-box", true];
    box.setAttribute("role", "tooltip");
    listen();
    document.documentElement.dataset.hover = "ready";
  }

  if (document.readyState === "complete") start();
  else addEventListener("load", start);
})();
