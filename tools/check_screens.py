"""What must hold on screens of four widths, and for what a page explains and checks
itself; part of `tools/check_browser.py`, which opens the pages.

Each string below is JavaScript that returns a list of complaints about the open page.
"""

from tools import check_equations

WIDTHS = (390, 768, 1200, 1536)

# An equation that does not fit must say that it scrolls, and on a wide screen a
# numbered one must fit; its number stands beside it or below.
EQUATIONS = """(async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  await document.fonts.ready;
  await new Promise(done => setTimeout(done, 400));
  const wrong = [];
  for (const equation of document.querySelectorAll('main div.math')) {
    const formula = equation.querySelector('mjx-container'), number = equation.querySelector('.eqno');
    if (!formula || !equation.checkVisibility()) continue;
    const name = equation.id || formula.textContent.slice(0, 30), seen = formula.getBoundingClientRect();
    const scrolls = formula.scrollWidth > formula.clientWidth + 1;
    if (scrolls && !formula.matches('.scrolls.more-right[tabindex]')) wrong.push(name + ' is cut off');
    if (scrolls && number && innerWidth >= 1200) wrong.push(name + ' is too wide');
    const at = number?.getBoundingClientRect();
    if (at && at.left < seen.right - 1 && at.right > seen.left + 1 && at.top < seen.bottom - 1
        && at.bottom > seen.top + 1)
      wrong.push(name + ' is under its number');
  }
  for (const code of document.querySelectorAll('main pre'))
    if (code.checkVisibility() && code.scrollWidth > code.clientWidth + 1 && !code.matches('.scrolls[tabindex]'))
      wrong.push('code that is cut off: ' + code.textContent.trim().slice(0, 30));
  for (const picture of document.querySelectorAll('main figure img'))
    if (picture.checkVisibility() && picture.getBoundingClientRect().right > innerWidth + 1)
      wrong.push('a picture wider than the screen: ' + picture.src.split('/').pop());
  return wrong;
})()"""

# The code of a figure is folded, and a picture has the colours of the page.
FIGURES = """(async () => {
  const wrong = [];
  for (const figure of document.querySelectorAll('main div.cell figure:not(.z-dots)')) {
    const code = figure.closest('div.cell').querySelector('div.cell_input');
    if (code && !code.closest('details, .solution')) wrong.push('code of a figure not folded: ' + figure.id);
  }
  for (const theme of ['dark', 'light']) {
    document.documentElement.dataset.theme = theme;
    for (const picture of document.querySelectorAll('main .panels img'))
      if ((getComputedStyle(picture).display !== 'none') !== picture.matches('.in-the-' + theme))
        wrong.push('in the ' + theme + ': ' + picture.src.split('/').pop());
  }
  return [...new Set(wrong)].slice(0, 3);
})()"""

# Focus on a formula and on a word of the glossary opens the box, Escape closes it.
HOVER = """(async () => {
  const wait = ms => new Promise(done => setTimeout(done, ms));
  const formula = () => document.querySelector('main mjx-container[data-rows]');
  if (!document.querySelector('main mjx-container')) return [];
  for (let i = 0; i < 60 && !document.documentElement.dataset.hover; i++) await wait(100);
  if (!document.documentElement.dataset.hover) return ['symbols are not explained'];
  const word = [...document.querySelectorAll("main a[href*='#term-']")].find(e => e.checkVisibility());
  const box = document.getElementById('hover-box'), wrong = [];
  for (const target of [formula(), word]) {
    if (!target) continue;
    const press = key => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
    press('Tab');
    target.focus();
    target.dispatchEvent(new FocusEvent('focusin', {bubbles: true}));
    await wait(50);
    if (box.hidden || !box.textContent.trim()) wrong.push('focus explains nothing: ' + target.tagName);
    else if (target.getAttribute('aria-describedby') !== box.id) wrong.push('the explanation is not announced');
    press('Escape');
    if (!box.hidden) wrong.push('Escape does not close the box');
  }
  return wrong;
})()"""

# Every answer that can be wrong is called wrong; one that is known is called right.
ANSWERS = """(async () => {
  const wait = ms => new Promise(done => setTimeout(done, ms));
  const known = {'ex-stable-rank': '1000 / (1 + 1)^2'}, wrong = [];
  if (!document.querySelector('div.exercise[id]')) return [];
  for (let i = 0; i < 40 && !window.bookAnswers; i++) await wait(50);
  await wait(50);
  for (const exercise of document.querySelectorAll('div.exercise[id]')) {
    const form = exercise.querySelector('form.answer-form');
    if (!form) {
      if (window.bookAnswers[exercise.id]) wrong.push('no field for the answer: ' + exercise.id);
      continue;
    }
    const says = text => {
      form.querySelector('input').value = text;
      form.requestSubmit();
      return form.querySelector('output').textContent;
    };
    const named = [...form.querySelectorAll('input')].every(input => input.labels[0]?.textContent.trim());
    if (!named || form.querySelector('output').getAttribute('role') !== 'status')
      wrong.push('a field without a name, or a verdict that is not announced: ' + exercise.id);
    const options = [...form.querySelectorAll('input[type=radio]')];
    if (options.length) {
      const verdicts = options.map(option => {
        option.checked = true;
        form.requestSubmit();
        return form.querySelector('output').textContent;
      });
      options.forEach(option => option.checked = false);
      if (verdicts.filter(verdict => verdict === 'right').length !== 1)
        wrong.push('not one right choice: ' + exercise.id);
      if (new Set(verdicts).size !== options.length) wrong.push('choices without a hint of their own: ' + exercise.id);
      continue;
    }
    const number = window.bookAnswers[exercise.id].right.length;
    if (says(Array(number).fill('12345.678').join(', ')) === 'right') wrong.push('takes any answer: ' + exercise.id);
    const right = known[exercise.id];
    if (right && says(right) !== 'right') wrong.push('refuses the right answer: ' + exercise.id);
  }
  return wrong;
})()"""

FOOT = """(() => {
  const foot = document.querySelector('.about-footer');
  return foot && /\\d+\\.\\d+\\.\\d+, \\d+ \\w+ \\d{4}/.test(foot.textContent) && foot.querySelector('a')
    ? [] : ['no version, date and licence at the foot'];
})()"""


# Buttons that lead to a repository are there only where the book has one.
BUTTONS = """(() => {
  const kinds = ['launch', 'source', 'repository'].map(kind => `.dropdown-${kind}-buttons`).join();
  const buttons = [...document.querySelectorAll(kinds)];
  const leads = buttons.flatMap(button => [...button.querySelectorAll('a[href]')].map(a => a.href));
  const outside = leads.filter(address => /^https?:/.test(address) && !address.startsWith(location.origin));
  const has = !!document.querySelector('meta[name=book-repository]');
  return outside.length && !has ? ['a button that leads nowhere: ' + outside[0]] : [];
})()"""

# The animated summary: every scene draws something, and waits for the reader.
SUMMARY = """(async () => {
  const figure = document.querySelector('.summary');
  if (!figure) return [];
  const wait = ms => new Promise(done => setTimeout(done, ms));
  for (let i = 0; i < 60 && !figure.matches('.summary-on'); i++) await wait(50);
  if (!figure.matches('.summary-on')) return ['the summary does not start'];
  const canvas = figure.querySelector('canvas'), captions = [...figure.querySelectorAll('li')], wrong = [];
  const [back, play, next] = figure.querySelectorAll('.summary-bar button');
  const colours = () => new Set(new Uint32Array(
    canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
  const shown = () => captions.findIndex(caption => caption.checkVisibility());
  for (let scene = 0; scene < captions.length; scene++) {
    if (captions.filter(caption => caption.checkVisibility()).length !== 1 || shown() !== scene)
      wrong.push('not the caption of scene ' + (scene + 1));
    await wait(120);
    if (colours() < 3) wrong.push('nothing is drawn in scene ' + (scene + 1));
    const still = canvas.toDataURL();
    await wait(120);
    if (matchMedia('(prefers-reduced-motion: reduce)').matches && canvas.toDataURL() !== still)
      wrong.push('it moves although less motion is wanted: scene ' + (scene + 1));
    next.click();
  }
  if (!next.disabled) wrong.push('there is no end');
  figure.querySelector('button:not(:disabled)').dispatchEvent(
    new KeyboardEvent('keydown', {key: 'ArrowLeft', bubbles: true, cancelable: true}));
  if (shown() !== captions.length - 2) wrong.push('the arrow keys do not step');
  for (let i = 0; i < captions.length; i++) back.click();
  play.click();
  if (play.textContent !== 'Pause') wrong.push('it does not play');
  play.click();
  if (play.textContent !== 'Play') wrong.push('it does not pause');
  return wrong;
})()"""

# Where the focus is, whether it can be seen, and whether it is inside of what is shown.
FOCUS = """(() => {
  const e = document.activeElement, style = getComputedStyle(e);
  const marked = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0 || style.boxShadow !== 'none';
  window.focusNumbers ??= new Map();
  if (!focusNumbers.has(e)) focusNumbers.set(e, focusNumbers.size);
  return {number: focusNumbers.get(e), body: e === document.body, marked,
    name: e.tagName + '.' + e.className + ' ' + e.textContent.trim().slice(0, 20)};
})()"""
TABS = 25


async def at_width(browser, width: int) -> None:
    """The page on a screen of this width, laid out anew."""
    await browser(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=width < 600,
    )


async def keyboard(browser) -> list[str]:
    """The tabulator moves the focus on and on, and shows where it is."""
    wrong, before = [], -1
    await browser.evaluate(
        "document.activeElement.blur(), scrollTo(0, 0), getSelection().removeAllRanges()"
    )
    for _ in range(TABS):
        await browser.press("Tab", 9)
        focus = await browser.evaluate(FOCUS)
        if focus["body"]:
            continue  # past the end
        if focus["number"] == before:
            wrong.append(f"the focus does not move on: {focus['name']}")
            break
        if not focus["marked"]:
            wrong.append(f"a focus that cannot be seen: {focus['name']}")
        before = focus["number"]
    if before == -1:
        wrong.append("nothing takes the focus")
    return list(dict.fromkeys(wrong))


async def typed(browser) -> list[str]:
    """An answer is written and checked without a mouse."""
    field = "document.querySelector('form.answer-form input[type=text]')"
    if not await browser.evaluate(f"!!{field}"):
        return []
    verdict = f"{field}.closest('form').querySelector('output').textContent"
    await browser.evaluate(f"{verdict} = {field}.value = '', {field}.focus()")
    await browser("Input.insertText", text="12345.678")
    enter = dict(key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r")
    await browser("Input.dispatchKeyEvent", type="keyDown", **enter)
    await browser("Input.dispatchKeyEvent", type="keyUp", **enter)
    said = await browser.evaluate(verdict)
    return [] if said else ["Enter does not check an answer"]


async def complaints(browser, page: str = "", listed: dict | None = None) -> list[str]:
    """About the page that is open. Leaves the screen at the last of the widths."""
    wrong = []
    for width in WIDTHS:
        await at_width(browser, width)
        wrong += [f"{width} px: {text}" for text in await browser.evaluate(EQUATIONS)]
        if listed is not None:
            found = await check_equations.scrolling(browser)
            wrong += check_equations.new(page, width, found, listed)
    for check in (FIGURES, HOVER, ANSWERS, FOOT, BUTTONS, SUMMARY):
        wrong += await browser.evaluate(check)
    wrong += await keyboard(browser)
    wrong += await typed(browser)
    return wrong
