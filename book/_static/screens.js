/* Fits what is wider than the page. A displayed equation is made smaller, down to
   SMALLEST of its size; what is still too wide scrolls, can be reached by keyboard, and
   fades at the end where there is more (book.css). */
"use strict";
(() => {
  const SMALLEST = 0.8;
  const WIDE = "main div.math > mjx-container, main .cell_output, main pre, main table, main .table-dots";

  /* Room for the formula, which shares the line with its number. */
  function fit(formula) {
    const inner = formula.querySelector("mjx-math");
    if (!inner) return;  // not typeset yet
    formula.style.removeProperty("zoom");
    const [needed, room] = [inner.getBoundingClientRect().width, formula.clientWidth];
    if (!room || needed <= room) return;
    formula.style.zoom = Math.max(SMALLEST, (room - 1) / needed);
  }

  function mark(box) {
    const left = box.scrollLeft > 1;
    const right = box.scrollLeft + box.clientWidth < box.scrollWidth - 1;
    const before = box.classList.contains("scrolls");
    const scrolls = (left || right) && getComputedStyle(box).overflowX !== "visible";
    box.classList.toggle("scrolls", scrolls);
    box.classList.toggle("more-left", scrolls && left);
    box.classList.toggle("more-right", scrolls && right);
    if (scrolls && !box.hasAttribute("tabindex")) box.tabIndex = 0;
    if (scrolls && !before) box.addEventListener("scroll", () => mark(box), {passive: true});
  }

  function all() {
    document.querySelectorAll("main div.math > mjx-container").forEach(fit);
    document.querySelectorAll(WIDE).forEach(mark);
  }

  /* Buttons of the theme are called by a word that does not hold what is seen on them. */
  function rename() {
    for (const button of document.querySelectorAll("button[aria-label]")) {
      const seen = button.innerText.replace(/\s+/g, " ").trim();
      if (seen && !button.ariaLabel.toLowerCase().includes(seen.toLowerCase()))
        button.ariaLabel = `${seen}, ${button.ariaLabel}`;
    }
    // entries of the bibliography say what they are, so that their list is no list of items
    for (const list of document.querySelectorAll(".citation-list[role]")) list.removeAttribute("role");
  }

  async function start() {
    rename();
    if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
    await document.fonts.ready;
    all();
    let waiting = 0;
    const later = () => {
      clearTimeout(waiting);
      waiting = setTimeout(all, 100);
    };
    addEventListener("resize", later);
    new ResizeObserver(later).observe(document.querySelector("main article") || document.body);
    // what was folded has no width before it is opened
    document.addEventListener("toggle", all, true);
    document.addEventListener("click", event => {
      if (event.target.closest(".toggle-button, .admonition-title")) setTimeout(all, 50);
    });
  }

  if (document.readyState === "complete") start();
  else addEventListener("load", start);
})();
