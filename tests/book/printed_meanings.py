"""What the letters of each numbered equation stand for: numbers, drawn at random, and
what SymPy derived at these numbers.

`MEANINGS[label](at)` gives the `printed_latex.Meaning`s of an equation; `at` is its
contract at one draw. Left sides are what SymPy derived; nothing is copied from a page,
but for strings that name an average or a limit and are only recognised.
"""

from functools import cache
from importlib import import_module

import numpy as np
import sympy as sp
from box_by_neurons import Box
from printed_latex import Indexed, Lazy, Meaning, Operator, canonical
from scipy import special

MEANINGS, FORMULAS = {}, {}


class At:
    """A contract at one draw of its numbers."""

    def __init__(self, module, contract, seed):
        self.contract, self.module = contract, import_module(f"derivations.{module}")
        values = contract.draw(np.random.default_rng(seed))
        self.values = [getattr(x, "item", lambda x=x: x)() for x in values]
        self.letters = {
            sp.latex(symbol): value
            for symbol, value in zip(contract.symbols, self.values, strict=True)
        }

    def __getitem__(self, letter):
        return self.letters[letter]

    @property
    def _formula(self):
        known, contract = FORMULAS, self.contract
        if contract.label not in known:
            known[contract.label] = sp.lambdify(contract.symbols, contract.derived)
        return known[contract.label]

    def derived(self, **changes):
        """What SymPy derived, with some symbols (by their SymPy names) changed."""
        named = dict(zip(map(str, self.contract.symbols), self.values, strict=True))
        named |= changes
        return np.asarray(self._formula(*named.values()))

    @property
    def list(self):
        return [x.item() for x in np.ravel(self.derived())]

    def number(self, expression):
        """Any other expression in the symbols of the contract."""
        known = dict(zip(self.contract.symbols, self.values, strict=True))
        return float(sp.sympify(expression).subs(known))

    def meaning(self, names=(), **more):
        letters = {canonical(key): value for key, value in self.letters.items()}
        given = {canonical(key): value for key, value in dict(names).items()}
        return Meaning(names=letters | given, **more)


def of(label):
    def register(function):
        MEANINGS[label] = function
        return function

    return register


def _simple(label, *names, **more):
    """Every entry of what was derived has a name on the page."""

    def meanings(at):
        return [at.meaning(zip(names, at.list, strict=False), **more)]

    MEANINGS[label] = meanings


def _strings(label, *names, **more):
    """Every entry of what was derived is a formula on the page."""

    def meanings(at):
        stands_for = dict(zip(names, at.list, strict=False))
        return [at.meaning(stands_for=stands_for, **more)]

    MEANINGS[label] = meanings


def only_at(place, value):
    """A function that is known at one place."""
    return lambda x: value if np.all(x == place) else np.nan


def _edges(c, sigma):
    return {"s_-": sigma * abs(1 - np.sqrt(c)), "s_+": sigma * (1 + np.sqrt(c))}


# ---------------------------------------------------------------- chapter 2


@of("eq-wigner-response")
def _(at):
    names = {"R": lambda tau: at.derived(tau=tau), "I_1": lambda x: special.iv(1, x)}
    return [at.meaning(names)]


@of("eq-wigner-resolvent")
def _(at):
    return [at.meaning({r"\hat R": lambda s: at.derived(s=s)})]


_simple("eq-cavity", "m_L", "m_R")


@of("eq-rectangular-response")
def _(at):
    # The rest of the series is below the tolerance at these numbers.
    at.letters = {"c": 0.7, r"\sigma": 1.1, "s": 2.3, r"\tau": 0.02}
    at.values = list(at.letters.values())
    names = {
        "R_L": lambda tau: at.derived(tau=tau)[0, 0],
        "R_R": lambda tau: at.derived(tau=tau)[1, 0],
    }
    return [at.meaning(names, as_is=(r"+\cdots",))]


@of("eq-transforms")
def _(at):
    names = _edges(at["c"], at[r"\sigma"]) | dict(
        zip(("m_{L}", "m_{R}"), at.list, strict=True)
    )
    return [at.meaning(names)]


@of("eq-edges")
def _(at):
    low, high = at.list
    return [at.meaning({r"s_\pm": Lazy(lambda x: high if x[r"\pm"] > 0 else low)})]


_strings("eq-atoms", r"\lim_{s\to0} s\,m_L", r"\lim_{s\to0} s\,m_R")


@of("eq-density")
def _(at):
    names = _edges(at["c"], at[r"\sigma"])
    names[r"\rho"] = lambda x: at.derived(x=x)[0, 0]
    return [at.meaning(names, as_is=(r",\qquad s_-\le x\le s_+",))]


@of("eq-transpose")
def _(at):
    density = sp.lambdify((at.module.x, *at.contract.symbols[:2]), at.module.density())
    names = {r"\rho": lambda x, c, square: density(x, c, np.sqrt(square))}
    return [at.meaning(names)]


@of("eq-moments")
def _(at):
    powers = [r"MM^{\mathsf T}", *(rf"(MM^{{\mathsf T}})^{k}" for k in (2, 3, 4))]
    strings = [rf"\tfrac1n\,\mathrm{{tr}}\,{power}" for power in powers]
    return [at.meaning(stands_for=dict(zip(strings, at.list, strict=True)))]


_strings(
    "eq-quarter-circle",
    r"\langle x\rangle",
    r"\langle x^3\rangle",
    as_is=(r"\qquad(c=1)",),
)


@of("eq-narrow")
def _(at):
    as_is = (r",\qquad x=\sigma(1+\sqrt c\,u),\quad c\to0",)
    return [at.meaning({r"\rho": lambda u: at.derived(u=u)}, as_is=as_is)]


@of("eq-edge-height")
def _(at):
    limit = r"\lim_{x\to s_+}\frac{\rho(x)}{\sqrt{s_+-x}}"
    (height,) = at.list
    return [at.meaning({r"\rho_+": height}, stands_for={limit: height})]


# ---------------------------------------------------------------- chapter 3

_simple("eq-independent-position", "s")
_strings("eq-independent-left", r"\cos^2(u_1,u)")
_strings("eq-independent-right", r"\cos^2(v_1,v)")
_simple("eq-spiked-covariance", "s", defines=(r"\ell",))
_simple("eq-escape", r"\theta_{\rm escape}")


@of("eq-spiked-overlap")
def _(at):
    names = {r"\ell": (1 + at[r"\theta"]) ** 2}
    return [at.meaning(names, stands_for={r"\cos^2(v_1,v)": at.list[0]})]


@of("eq-overlap-matrix")
def _(at):
    return [at.meaning({"Q": only_at(at["s"], at.derived())})]


def _condition(at):
    """m_L is such that the condition holds: it is linear in m_L."""
    root = float(1 / (1 - at.derived(m_L=1.0)))
    return [at.meaning({"m_{L}": root})]


MEANINGS["eq-dependent-condition"] = MEANINGS["eq-mirrored-condition"] = _condition


@of("eq-chain")
def _(at):
    sigma, c = at[r"\sigma"], at["c"]
    chi = sigma**2 * c * at["m_{L}"] * at["m_{R}"]
    names = {"Q": at.derived(), r"\chi": chi, r"\varrho": sigma**2 * chi}
    return [at.meaning(names)]


@of("eq-effective")
def _(at):
    rng = np.random.default_rng(1)
    M = rng.standard_normal((5, 4))
    left = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    right = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    Q_L, Q_R = left[:, :2], right[:, :2]
    core, Y, below = Q_L.T @ M @ Q_R, Q_L.T @ M @ right[:, 2:], left[:, 2:].T @ M @ Q_R
    grams = {"D": core, "A": Y @ Y.T, "B": below.T @ below}
    module = at.module
    entries = {
        module.entry(letter, i, j): gram[i, j]
        for letter, gram in grams.items()
        for i in range(2)
        for j in range(2)
    }
    known = {module.m_L: at["m_{L}"], module.m_R: at["m_{R}"]} | entries
    K = np.array(module.effective_matrix(2, 2).subs(known), float)
    names = {rf"\mathcal {letter}": gram for letter, gram in grams.items()}
    names |= {"K": only_at(at["s"], K), "M": M, "Y": Y, "Y'": below}
    return [at.meaning(names | {"Q_L": Q_L, "Q_R": Q_R})]


@of("eq-conditioning")
def _(at):
    return [at.meaning({"K": only_at(at["s"], at.derived())})]


# ---------------------------------------------------------------- chapter 4


def realised(covariance, size=64, seed=0):
    """Vectors whose averages <a b> are exactly these."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((size, len(covariance))))[0]
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return root @ basis.T * np.sqrt(size)


def vectors_of(innovations, number=float):
    """A function from {innovation: coefficient} to an array, exact in all averages."""
    labels = list(
        dict.fromkeys(name for pair in innovations.covariance for name in pair)
    )
    table = np.zeros((len(labels), len(labels)))
    for (a, b), value in innovations.covariance.items():
        i, j = labels.index(a), labels.index(b)
        table[i, j] = table[j, i] = number(value)
    rows = dict(zip(labels, realised(table), strict=True))
    return lambda vector: sum(number(x) * rows[name] for name, x in vector.items())


@of("eq-answers")
def _(at):
    sigma, c = at[r"\sigma"], at["c"]
    gd, rng = at.module, np.random.default_rng(3)
    world = gd.Innovations()
    M = gd.Matrix(world, "M", c, sigma**2)
    x, h, g, down, up = rng.standard_normal(6), [], [], [], []
    for k in range(2):
        parts = [(x[k], vector) for vector in down]
        h.append(gd.combine((1, world.new(f"h{k}", 1.0)), *parts))
        up.append(M.forward(h[k]))
        parts = [(x[2 + k], vector) for vector in up]
        g.append(gd.combine((1, world.new(f"g{k}", 1.0)), *parts))
        down.append(M.backward(g[k]))
    array = vectors_of(world)

    def A(n):
        return M.response(h[n["k"]], "r", n["j"])

    def B(n):
        return M.response(g[n["j"]], "u", n["k"])

    names = {
        "A": Indexed(lambda _, at: M.response(h[at[0]], "r", at[1])),
        "B": Indexed(lambda _, at: M.response(g[at[0]], "u", at[1])),
        "h": Indexed(lambda _, at: array(h[at[0]])),
        "g": Indexed(lambda _, at: array(g[at[0]])),
        "u": Indexed(lambda _, at: array({f"u_M{at[0]}": 1})),
        "r": Indexed(lambda _, at: array({f"r_M{at[0]}": 1})),
        "l": 0,
    }
    stands_for = {
        "M_0h_k": Lazy(lambda n: array(up[n["k"]])),
        r"M_0^{\mathsf T}g_j": Lazy(lambda n: array(down[n["j"]])),
        r"\langle\frac{\partial h_k}{\partial r_j}\rangle": Lazy(A),
        r"\langle\frac{\partial g_j}{\partial u_k}\rangle": Lazy(B),
    }
    sums = {i: lambda n, i=i: [{i: 0}, {i: 1}] for i in "jk"}
    return [
        at.meaning(names | {"k": k, "j": j}, stands_for=stands_for, sums=sums)
        for k, j in ((1, 1), (1, 0))
    ]


@of("eq-asked-again")
def _(at):
    gd, rng = at.module, np.random.default_rng(4)
    question = gd.Question.in_letters(2, 1)
    factor = rng.standard_normal((3, 5))
    gram = factor @ factor.T
    letters = [part for part in question for part in part.free_symbols]
    drawn = dict(zip(letters, rng.standard_normal(len(letters)), strict=True))
    drawn |= {question.gram[i, j]: gram[i, j] for i in range(3) for j in range(3)} | {
        gd.sigma: at[r"\sigma"],
        gd.c: at["c"],
    }
    said = gd.answer(question)
    old = [float(x.subs(drawn)) for x in said.old_noise]
    (echo,) = [float(x.subs(drawn)) for x in said.echo]
    vectors = dict(
        zip(("u_1", "u_2", r"\tilde u", "g_1"), rng.normal(size=(4, 8)), strict=True)
    )
    answer = (
        old[0] * vectors["u_1"]
        + old[1] * vectors["u_2"]
        + vectors[r"\tilde u"]
        + echo * vectors["g_1"]
    )
    names = {f"H_{{{i + 1}{j + 1}}}": gram[i, j] for i in range(3) for j in range(3)}
    names |= {r"\hat\rho_1": old[0], r"\hat\rho_2": old[1]} | vectors
    names["A_{31}"] = drawn[question.response[2, 0]]
    stands_for = {
        "M_0h_3": answer,
        r"\langle\tilde u^2\rangle": float(said.new_variance.subs(drawn)),
    }
    return [at.meaning(names, stands_for=stands_for)]


@of("eq-power")
def _(at):
    string = r"\langle v_0v_k\rangle"
    return [
        at.meaning(
            stands_for={string: at.list[0]},
            items=at.list,
            as_is=(r"\qquad (k=1,\dots,4)",),
        )
    ]


@of("eq-least-squares")
def _(at):
    return [at.meaning(stands_for={r"\langle v_1^2\rangle": at.list[1]})]


def _losses(at, times=(0,)):
    return {
        r"\mathcal L_{\rm test}": dict(zip(times, at.list[::2], strict=False)).get,
        r"\mathcal L_{\rm train}": dict(zip(times, at.list[1::2], strict=False)).get,
    }


@of("eq-start")
def _(at):
    return [at.meaning(_losses(at))]


def _start_of_one_layer(at):
    gd = at.module
    return {
        "V": at.number(gd.losses(0)[0]),
        "H_0": at.number(gd.first_gradient(1, 0)[1]),
    }


@of("eq-one-step")
def _(at):
    return [at.meaning(_losses(at, (1,)) | _start_of_one_layer(at))]


def polynomial_number(at):
    """Numbers for the polynomials in which `gradient_descent.Training` calculates."""
    gd = at.module
    generators = [at.number(x.subs(gd.c, 1)) for x in gd._MEANING]

    def number(polynomial):
        return sum(
            float(coefficient) * np.prod(np.power(generators, powers))
            for powers, coefficient in gd._RING(polynomial).terms()
        )

    return number


@of("eq-two-steps")
def _(at):
    gd = at.module
    run, number = gd.training(1, 2), polynomial_number(at)
    array = vectors_of(run.innovations, number)
    g, image = map(array, run.last)
    beta = array({"b": 1})
    v = beta - g * number(gd._scale)

    def X(x):
        return 2 * image if np.allclose(x, v, rtol=1e-12) else np.nan * x

    names = {r"\beta": beta, "g_2": g, "D": 4, "X": X, r"\epsilon": array({"e": 1})}
    return [at.meaning(_losses(at, (2,)) | names, tolerance=1e-7)]


@of("eq-first-spike")
def _(at):
    names = _start_of_one_layer(at) | {"s": at.list[0]}
    return [at.meaning(names, defines=(r"\Lambda",))]


@of("eq-first-step-response")
def _(at):
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    features, gradients = at.module.start_averages()
    names = {
        "A_{10}": at.list[0],
        "h": points * at[r"\sigma"] * np.sqrt(at["q"]),
        "G": at.number(gradients),
    }

    def average(values):
        return np.sum(weights * values) / np.sqrt(2 * np.pi)

    return [at.meaning(names, average=average, defines=(r"\zeta",))]


@of("eq-slow-responses")
def _(at):
    gamma0, kappa = 0.7, 0.7 * at[r"\eta"]
    module = at.module
    kernel = at.number(module.lazy_ntk(sp.Matrix([[module.q]]), 2)[0])
    residual = Indexed(lambda _, when: (1 - at[r"\eta"] * kernel) ** when[0])
    meanings = []
    for t in (1, 2):
        A, B = (kappa * x for x in at.list[2 * t - 2 : 2 * t])
        names = {"A_t": A, "B_t": B, r"\Delta": residual, r"\gamma_0": gamma0}
        names[r"\Phi"] = at.number(module.start_averages()[0])
        sums = {"s<t": lambda n, t=t: [{"s": s} for s in range(t)]}
        meanings.append(at.meaning(names | {"s": 0}, sums=sums, defines=("a", "b")))
    return meanings


# ---------------------------------------------------------------- chapter 5


def _kernels(at, values, slopes):
    a, b, angle = at.values
    names = {"k_{12}": np.sqrt(a * b) * np.cos(angle)}
    strings = {
        r"\langle\phi\phi\rangle": values,
        r"\langle\phi'\phi'\rangle": slopes,
    }
    return [at.meaning(names, stands_for=strings)]


MEANINGS["eq-erf-kernel"] = lambda at: _kernels(at, *at.list)
MEANINGS["eq-relu-kernel"] = lambda at: _kernels(at, *at.list)


@of("eq-lazy")
def _(at):
    kernel = at.module.lazy_ntk(at.module._two, 2).subs(
        dict(zip(at.contract.symbols, at.values, strict=True))
    )
    names = {
        "f": only_at(2, at.derived()),
        "y": np.array([[1.0], [-1.0]]),
        "K": np.array(kernel, float) / 2,
        "t": 2,
    }
    return [at.meaning(names)]


@of("eq-scalar")
def _(at):
    q = at["q"]
    start = {"f": 0.4, "k": 0.9}
    module = at.module
    values = {module.f: 0.4, module.k: 0.9, module.e: at["y"] - 0.4}
    values |= dict(zip(at.contract.symbols, at.values, strict=True))
    values |= {symbol: q for symbol in (module.q,)}
    new = [float(x.subs(values)) for x in module.scalar_step()]
    return [at.meaning(start, after=dict(zip("fk", new, strict=True)))]


# ---------------------------------------------------------------- chapters 6 and 7


def _deep(at, layers, layer):
    """Letters of chapter 6 for one layer of one depth."""
    deep = import_module("derivations.deep_linear")
    formula = deep.descent_square().subs(deep.L, layers)
    nu = at[r"\nu"]
    return {
        "L": layers,
        "l": layer,
        "c": nu if layer == 0 else 1.0,
        "H_0": at.number(formula),
    }


@of("eq-deep-start")
def _(at):
    return [at.meaning(_losses(at) | {"L": 3})]


@of("eq-first-response")
def _(at):
    return [at.meaning({"A_l": at.list[layer], "l": layer}) for layer in range(3)]


@of("eq-first-gram")
def _(at):
    return [
        at.meaning(_deep(at, 3, layer) | {"H_l": at.list[layer]}) for layer in (1, 2)
    ]


@of("eq-first-outlier")
def _(at):
    return [
        at.meaning(_deep(at, 2, layer) | {"s": at.list[layer]}, defines=(r"\Lambda",))
        for layer in range(2)
    ]


def _law_of_samples(at, alpha):
    """Points and weights of the Marchenko-Pastur law mu for alpha > 1 samples."""
    angle = np.pi * (np.arange(400) + 0.5) / 400
    x = 1 + 1 / alpha + 2 / np.sqrt(alpha) * np.cos(angle)
    weights = 2 * np.sin(angle) ** 2 / x / 400
    return "x", x, weights


def _many_samples(at):
    """More samples than dimensions, so that mu has no atom at zero."""
    at.letters[r"\alpha"] = alpha = 1.3 + at[r"\alpha"]
    at.values = list(at.letters.values())
    return _law_of_samples(at, alpha)


@of("eq-kernel-descent")
def _(at):
    law = _many_samples(at)
    start = at.number(at.module.start_loss().subs(at.module.L, 2))
    losses = {0: start} | dict(zip((1, 2), at.list, strict=True))
    names = {r"\mathcal L_{\rm test}": losses.get, "L": 2}
    return [at.meaning(names | {"t": t}, law=law, defines=(r"\eta_L",)) for t in (1, 2)]


_strings(
    "eq-news",
    r"\langle|z_{\rm outside}|^2\rangle",
    r"\mathrm{var}\,|z_{\rm outside}|^2",
)
_strings("eq-echo", r"\langle|M^{\mathsf T}Mv|^2\rangle")


@of("eq-smallest")
def _(at):
    column = at["a"], at["d"]
    x = np.hypot(*column)
    y = np.dot(column, (at["b"], at["e"])) / x
    z = (at["a"] * at["e"] - at["b"] * at["d"]) / x
    low, high = np.sqrt(sorted(at.list))
    values = Lazy(lambda known: high if known[r"\pm"] > 0 else low)
    names = {"x": x, "y": y, "z": z, r"s_\pm": values}
    return [at.meaning(names, defines=("S",))]


def _trained_by_sympy(module, rng, eta, gamma0, steps):
    """M0, the raw W^1 after so many steps, and what was there before each of them: of a
    small network that descends the derivative of its loss.
    """

    def phi(h):
        return sp.erf(h / sp.sqrt(2))

    data = [sp.Matrix(rng.standard_normal((2, 2))) for _ in "xy"]
    net = module.RawNetwork.of(phi, *data, width=2, samples=2)
    letters = [each for part in net.weights for each in part]
    scales = {module.eta: eta, module.gamma0: gamma0}
    wanted = [*map(net.added, net.weights), net.residuals, *net.fields]
    of_weights = sp.lambdify(letters, [part.subs(scales) for part in wanted], "scipy")
    weights = [rng.standard_normal((2, 2)) for _ in range(3)]
    start, past = weights[1] / np.sqrt(2), []
    for _ in range(steps):
        *added, Delta, h1, h2 = of_weights(*np.ravel(weights))
        slopes = np.sqrt(2 / np.pi) * np.exp(-(h2**2) / 2)
        past.append((Delta, slopes, weights[2], h1))
        weights = [old + new for old, new in zip(weights, added, strict=True)]
    return start, weights[1], past


@of("eq-spike-sum")
def _(at):
    rng = np.random.default_rng(5)
    t, eta, gamma0 = 3, at[r"\eta"], at[r"\gamma_{0}"]
    start, trained, past = _trained_by_sympy(at.module, rng, eta, gamma0, t)
    asked = {"s": 0, "k": 0, r"\mu": 0}

    def gradient(above, below, s):
        (sample, output), (_, slopes, w, _) = below, past[s]
        return {2: slopes[:, sample] * w[output]}[above[0]][:, None]

    names = asked | {
        "t": t,
        "N": 2,
        "P": 2,
        "M_0": start,
        "W": Indexed(lambda above, below: np.nan),
        "W()": lambda above, below, when: {(1, t): trained}[above[0], when],
        r"\Delta": Indexed(lambda above, below: np.nan),
        r"\Delta()": lambda _, below, s: past[s][0][below[1], below[0]],
        "g": Indexed(lambda above, below: np.nan),
        "g()": gradient,
        "h": Indexed(lambda above, below: np.nan),
        "h()": lambda above, below, s: {1: past[s][3]}[above[0]][:, below[0]][:, None],
        r"\phi": lambda h: special.erf(h / np.sqrt(2)),
    }
    both = [{r"\mu": sample, "k": output} for sample in (0, 1) for output in (0, 1)]
    sums = {
        "s<t": lambda n: [{"s": s} for s in range(n["t"])],
        r"\mu,k": lambda n: both,
    }
    return [at.meaning(names, sums=sums)]


@of("eq-first-step-outlier")
def _(at):
    return [at.meaning({"s": at.list[0]}, defines=(r"\theta", r"\Phi", "G"))]


@of("eq-many-strengths")
def _(at):
    variance = at[r"\sigma"] ** 2
    names = {
        "P": 2,
        "Y": np.reshape(at.values[:4], (2, 2)),
        "G": variance * np.ones((2, 2)),
        r"\Phi": variance * np.array([[at["a"], at["c"]], [at["c"], at["b"]]]),
    }
    meanings = []
    for which, position in enumerate(at.list):

        def eigenvalue(matrix, which=which):
            return np.sort(np.linalg.eigvals(matrix).real)[1 - which]

        more = {"s_k": position, r"\lambda_k": eigenvalue}
        meanings.append(at.meaning(names | more, defines=(r"\theta_k",)))
    return meanings


# ---------------------------------------------------------------- chapter 8


@of("eq-width-mup")
def _(at):
    first, other = at.list
    # both limits are the same number
    limits = {
        r"\lim_{\nu\to\infty}\frac{\Lambda_0}{\nu}": first,
        r"\lim_{\nu\to\infty}\Lambda_l": other,
    }
    return [at.meaning({"L": 2}, stands_for=limits)]


def _of_ntk(at, layers, layer):
    width = at.module
    square = width.dl.descent_square().subs(
        {width.L: layers, width.gamma: width.gamma0}
    )
    return {"L": layers, "l": layer, "H_0": at.number(square)}


@of("eq-width-ntk")
def _(at):
    width, meanings = at.module, []
    for layers, layer in ((2, 1), (4, 3)):
        depth = {width.L: layers, width.l: layer}
        first, other = (width.first_step("ntk", x).subs(depth) for x in (True, False))
        names = {r"\Lambda_0": at.number(first), r"\Lambda_l": at.number(other)}
        meanings.append(at.meaning(_of_ntk(at, layers, layer) | names))
    return meanings


@of("eq-width-critical")
def _(at):
    width = at.module
    depth = {width.L: 3, width.l: 2, width.c: 1.7}
    square = at.number((width.critical_scale() ** 2).subs(depth))
    critical = np.emath.sqrt(square)
    return [at.meaning({r"\gamma_{\rm c}": critical, "L": 3, "l": 2, "c": 1.7})]


@of("eq-width-lazy")
def _(at):
    law, meanings = _many_samples(at), []
    module = at.module
    rate = module.kernel_rate().subs({module.L: 2, module.gamma: module.gamma0})
    for t, strength in ((1, at.list[0]), (2, at.list[2])):
        change = module.change_of_predictor(t).subs(module.eta_L, rate)
        change = change.subs({module.L: 2, module.gamma: module.gamma0})
        names = {
            r"\theta_l": only_at(t, strength * np.sqrt(1.7 / at[r"\nu"])),
            "c": 1.7,
            "L": 2,
            "D": 3.0,
            "t": t,
            r"\eta_L": at.number(rate),
            "V": at.number(
                module.dl.start_loss().subs({module.L: 2, module.gamma: module.gamma0})
            ),
        }
        distance = {"|p_t-p_0|": np.sqrt(3 * at.number(change))}
        meanings.append(at.meaning(names, stands_for=distance, law=law))
    return meanings


_simple("eq-width-margin", r"\omega")


# ---------------------------------------------------------------- chapters 9 and 10


@of("eq-ntk-recursion")
def _(at):
    module, (D, N, _) = at.module, at.module._dims
    known = dict(zip(at.contract.symbols, at.values, strict=True))
    S = [np.array(module.sent_back(l).subs(known), float) for l in range(3)]
    M = [
        np.array(W.subs(known), float) / np.sqrt(size)
        for W, size in zip(module._weights, (D, N), strict=True)
    ]
    w = np.array(module._readout.subs(known), float)
    g = [np.linalg.norm(v) for v in (M[0].T @ M[1].T @ w, M[1].T @ w, w)]
    # what S_l is on a direction that M_l sends to zero or, failing that, adds to it
    a = [np.linalg.eigvalsh(S[0] - M[0].T @ S[1] @ M[0])[0], None, D / N]
    a[1] = np.linalg.eigvalsh(S[1] - M[1].T @ S[2] @ M[1])[0]
    S[2] = S[2][0, 0]  # a number times one
    names = {"N": N, r"\nu": N / D, "L": 2}
    for letter, values in (("S", S), ("M", M), ("a", a)):
        names[letter] = Indexed(lambda _, below, values=values: values[below[0]])
    names["g"] = Indexed(lambda above, _: g[above[0]])
    return [at.meaning(names | {"l": 1})]


@of("eq-ntk-bulk")
def _(at):
    return [
        at.meaning({"z": lambda x: at.derived(x=x)}, defines=(r"\Sigma_0", r"\psi_0"))
    ]


def _known(at):
    return dict(zip(at.contract.symbols[1:], at.values[1:], strict=True))


@of("eq-ntk-edge")
def _(at):
    module, start = at.module, at.module._start
    known = _known(at)
    ratio, position = (
        float(x.subs(start).subs(known).subs(module.x, at["x"])) for x in module.edge()
    )
    derivative = Operator(
        lambda body, n: np.imag(body(n | {"x": n["x"] + 1e-30j})) / 1e-30
    )
    formula = sp.lambdify(module.x, module.sigma_0().subs(start).subs(known))

    def S(n):
        return formula(n["x"])

    def psi(n):
        return n["x"] / (at[r"\sigma"] ** 2 + S(n) * n["x"])

    z = module.bulk()[0].subs(start).subs(known).subs(module.alpha, ratio)
    names = {
        r"\Sigma_0": Lazy(S),
        r"\psi_0": Lazy(psi),
        r"\alpha": lambda x: ratio,
        "z": lambda x: float(z.subs(module.x, x)),
        r"\lambda_+": at.list[0],
        "x": at["x"],
    }
    strings = {r"\frac{\mathrm d}{\mathrm dx}": derivative}
    return [at.meaning(names, stands_for=strings)]


_simple("eq-ntk-lazy", r"\lambda_+")


@of("eq-ntk-outlier")
def _(at):
    module, meanings = at.module, []
    known = dict(zip(at.contract.symbols, at.values, strict=True))
    S = float(module.sigma_0().subs(known))
    x = at["x"]
    for flags in ((0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 1, 0), (0, 1, 0, 1)):
        asked = dict(zip(map(str, module.known), flags, strict=True))
        names = {
            "E": only_at(x, at.derived(**asked)),
            r"\Sigma_0": S,
            r"\psi_0": x / (at[r"\sigma"] ** 2 + S * x),
            "z": float(module.bulk()[0].subs(known)),
        }
        names |= {rf"\iota_{k}": flag for k, flag in enumerate(flags, 1)}
        meanings.append(at.meaning(names, defines=(r"\Gamma",)))
    return meanings


@of("eq-ntk-planted")
def _(at):
    names = {"x": at.number(at.module.planted_mode()[0]), "z": at.list[0]}
    return [at.meaning(names)]


@of("eq-transfer-share")
def _(at):
    names = {"a_0": {1: at.list[0]}.get} | _deep(at, 1, 0)
    return [at.meaning(names, defines=("H_1",))]


@of("eq-transfer-limit")
def _(at):
    words = (r"&\text{in muP},", r"&\text{in NTK}")
    limits = np.ravel(at.derived())
    return [at.meaning({"a_0": {1: limits}.get}, as_is=words)]


# ---------------------------------------------------------------- chapters 11 and 12


@of("eq-budget")
def _(at):
    m = 300.0
    n = at["c"] * m
    names = {r"\omega": np.sqrt(at.list[0]), "n": n, "m": m, "k": at[r"\kappa"] * n}
    return [at.meaning(names)]


@of("eq-excess")
def _(at):
    names = {r"\mathcal X": at.list[0] - 1 - at["c"], "n": 50.0}
    return [at.meaning(names | {r"\mathcal P": at["P"] * 50.0})]


@of("eq-shape")
def _(at):
    sigma, xi = 1.3, 0.2
    point = at.number(at.module.bulk_point())
    names = {"x": sigma**2 * (1 + xi) * point, r"\sigma": sigma, r"\xi": xi}
    change = r"\frac{\partial}{\partial\mathcal X}\,\Pr\big(s^2<x\big)"
    return [at.meaning(names, stands_for={change: at.list[0]})]


@of("eq-population")
def _(at):
    known = {
        symbol: value
        for symbol, value in zip(at.contract.symbols, at.values, strict=True)
    }
    names = {
        r"\tau": only_at(known[at.module.lam], at.list[0]),
        r"\gamma_0": at[r"\gamma"],
        "s_*": known[at.module.s_star],
        r"\lambda": known[at.module.lam],
    }
    return [at.meaning(names, defines=("f", "h"))]


def _two_values(at):
    low, high, weight, c, v = at.values

    def average(x):
        return weight * x[0] + (1 - weight) * x[1]

    return {r"\tau": np.array([low, high])}, average


@of("eq-population-law")
def _(at):
    names, average = _two_values(at)
    names["z"] = lambda v: at.derived(v=v)
    return [at.meaning(names, average=average, as_is=(r",\qquad g(z)=\frac1{v(z)}",))]


@of("eq-population-edges")
def _(at):
    names, average = _two_values(at)
    strings = {r"\frac{\mathrm dz}{\mathrm dv}": at.list[0]}
    return [at.meaning(names, average=average, stands_for=strings, as_is=("= 0",))]


@of("eq-level-line")
def _(at):
    x, density = at.list
    return [at.meaning({"x": x, r"\rho": only_at(x, density)})]


@of("eq-few-outputs")
def _(at):
    return [at.meaning({r"s_{\rm out}": np.sqrt(at.list[0])})]


@of("eq-information-plus-noise")
def _(at):
    sigma, theta, kappa, c, w = at.values
    f = kappa / (theta**2 - w) + (1 - kappa) / (-w)
    names = {"z": lambda w: at.derived(w=w), "u": 1 - sigma**2 * c * f}
    return [at.meaning(names, as_is=(r",\qquad c=\tfrac nm\le1",))]


_simple("eq-quartic", "m", tolerance=1e-7)


@of("eq-modes")
def _(at):
    module = at.module
    step, (e, F, k) = module.mode_step()
    now = {"F": 0.3, "k": 0.8}
    rate = at[r"\eta"] * at[r"\gamma"] * (at["s"] - now["F"] / at[r"\gamma"])
    values = {e: rate, F: now["F"], k: now["k"]}
    after = {name: float(x.subs(values)) for name, x in step.items()}
    names = now | {r"\gamma_0": at[r"\gamma"]}
    return [at.meaning(names, after=after, defines=(r"\epsilon",))]


@of("eq-edge-correction")
def _(at):
    gain = at.number(at.module.pair_gain())
    names = {r"\gamma_0": at[r"\gamma"]}
    return [at.meaning(names, stands_for={r"[\dots]_{t=1}": gain})]


# ---------------------------------------------------------------- the box of chapter 5


@cache
def box(layers, activation, rho, sigma, gamma0, eta):
    phi, slope = {"sin": (np.sin, np.cos), "linear": (lambda x: x, np.ones_like)}[
        activation
    ]
    theory = import_module("derivations.field_theory")
    inputs = np.array([[1, rho], [rho, 1]])
    targets = np.array(theory.TARGETS, float)
    return Box(phi, slope, layers, 2, inputs, targets, sigma, gamma0, eta)


BOX_WORDS = (
    r"\textbf{input}",
    r"\textbf{up}",
    r"\textbf{down}",
    r"\textbf{readout}",
    r"\textbf{output}",
    r"\textbf{noise},\text{ Gaussian jointly in samples, outputs and times}",
    r"\textbf{kernels and responses}",
)


def _box_names(theory, l, t):
    """h^1, g^l, ... with their indices, for layer l; l of the page is this l."""
    times = range(theory.T + 1)
    u = {a: theory.noise(a + 1)[0] for a in range(1, theory.L)}
    r = {a: theory.noise(a)[1] for a in range(1, theory.L + 1)}

    def covariance(noise):
        flat = noise.reshape(-1, noise.shape[-1])
        return flat @ flat.T / noise.shape[-1]

    def start(a, at, when):
        if at:
            return theory.h[a[0]][when, at[0]]
        known = a == [1] and when == 0
        return theory.square * theory.inputs[MU, NU] if known else np.nan

    names = {
        "h": Indexed(None),
        "h()": start,
        "g": Indexed(None),
        "g()": lambda a, at, when: theory.g[a[0]][(when, *at)],
        "u": Indexed(lambda a, at: covariance(u[a[0]])),
        "u()": lambda a, at, when: u[a[0]][when, at[0]],
        "r": Indexed(lambda a, at: covariance(r[a[0]])),
        "r()": lambda a, at, when: r[a[0]][(when, *at)],
        "w": Indexed(None),
        "w()": lambda a, at, when: theory.readout[when, at[0]],
        "f": Indexed(None),
        "f()": lambda a, at, when: theory.f[(when, *at)],
        r"\Delta": Indexed(None),
        r"\Delta()": lambda a, at, when: theory.Delta[(when, *at)],
        r"\Phi": Indexed(lambda a, at: _square_of(theory.Phi[a[0]])),
        r"\Phi()": lambda a, at, s, s1: theory.Phi[a[0]][s, at[0], s1, at[1]],
        "G": Indexed(lambda a, at: _square_of(theory.G[a[0]])),
        "G()": lambda a, at, s, s1: theory.G[a[0]][s, at[0], at[1], s1, at[2], at[3]],
        "A": Indexed(None),
        "A()": lambda a, at, s, s1: theory.A[a[0]][s, at[0], s1, at[1], at[2]],
        "B": Indexed(None),
        "B()": lambda a, at, s, s1: theory.B[a[0]][s, at[0], at[1], s1, at[2]],
        "y": Indexed(lambda a, at: theory.targets[tuple(at)]),
        r"\phi": theory.phi,
        r"\phi'": theory.slope,
        r"\mathcal N": lambda mean, square: square + mean,
        r"\kappa": theory.kappa,
        r"\sigma": np.sqrt(theory.square),
        r"\gamma_0": theory.gamma0,
        "D": 2.0,
        "x": Indexed(lambda a, at: np.linalg.cholesky(2 * theory.inputs)[at[0]]),
        "L": theory.L,
        "l": l,
    }
    return names | {"t": t, "times": times}


def _square_of(kernel):
    size = int(np.sqrt(kernel.size))
    return kernel.reshape(size, size)


MU, NU = 0, 1
PAIRS = [{r"\nu": n, "j": i} for n in range(2) for i in range(2)]


@of("eq-whole-theory")
def _(at):
    theory = box(3, "sin", *at.values)
    meanings = []
    for l, t, before, k, j in ((1, 1, 0, 1, 0), (2, 1, 1, 0, 1)):
        names = _box_names(theory, l, t)
        names |= {r"\mu": MU, r"\nu": NU, "k": k, "j": j, "t'": before}
        sums = {
            r"\nuj": lambda n: PAIRS,
            r"\nu": lambda n: [{r"\nu": 0}, {r"\nu": 1}],
            r"\mu": lambda n: [{r"\mu": 0}, {r"\mu": 1}],
            "t'<t": lambda n: [{"t'": s} for s in range(n["t"])],
            r"t'\let": lambda n: [{"t'": s} for s in range(n["t"] + 1)],
        }
        A = Lazy(lambda n: theory.A[n["l"]][n["t"], MU, n["t'"], n[r"\nu"], n["j"]])
        B = Lazy(lambda n: theory.B[n["l"]][n["t"], MU, n["k"], n["t'"], n[r"\nu"]])
        strings = {
            "w_k(0)": theory.square,
            r"\langle\frac{\partial\phi(h^l_\mu(t))}{\partial r^l_{\nu j}(t')}\rangle": A,
            r"\langle\frac{\partial g^{l+1}_{\mu k}(t)}{\partial u^l_\nu(t')}\rangle": B,
        }
        meanings.append(Meaning(names, strings, BOX_WORDS, sums=sums, tolerance=1e-7))
    return meanings


# ---------------------------------------------------------------- chapter 13


@of("eq-scale")
def _(at):
    roots = [at.number(root) for root in at.module.factors()]
    names = dict(zip(("r_+", "r_-"), roots, strict=True))
    names[r"r_\pm"] = Lazy(lambda x: roots[0] if x[r"\pm"] > 0 else roots[1])
    return [at.meaning(names | {"a_t": at.list[0], "t": at.module.AT})]


@of("eq-scale-wave")
def _(at):
    angle = at.number(at.module.oscillation()[1])
    names = {r"\vartheta": angle, "a_t": at.list[0], "t": at.module.AT}
    return [at.meaning(names, tolerance=1e-8)]


_simple("eq-momentum-limit", r"\lambda_{\rm P}", r"\lambda_{\rm N}")
_simple("eq-slow-factor", "r_+", as_is=(r"-\dots",), tolerance=1e-12)
_simple("eq-left-behind", "s")


@of("eq-momentum-lazy")
def _(at):
    _, x, weights = _many_samples(at)
    module = at.module
    start = at.number(module.start_loss().subs(module.L, 2))
    losses = dict(enumerate((start, *at.list)))
    lazy = {module.delta: 0, module.lam: module.lazy_x, module.eta: module.eta_L}
    step = sp.lambdify(
        (module.lazy_x, module.mu, module.eta_L), module.step().subs(lazy)
    )
    meanings = []
    for t in range(1, module.LAZY_STEPS + 1):

        def left(points, t=t):
            return np.array(
                [
                    np.linalg.matrix_power(step(each, at[r"\mu"], at[r"\eta_{L}"]), t)[
                        0, 0
                    ]
                    for each in points
                ]
            )

        names = {r"\mathcal L_{\rm test}": losses.get, "a_t": left, "x": x, "t": t}
        meanings.append(at.meaning(names, average=lambda v: np.sum(weights * v)))
    return meanings


# ---------------------------------------------------------------- chapter 14


@of("eq-muon-values")
def _(at):
    return [at.meaning({"p": lambda x: float(at.derived(x=x))})]


@of("eq-muon-grams")
def _(at):
    module = at.module
    known = dict(zip(at.contract.symbols, at.values, strict=True))
    matrices = {sp.latex(letter): each for letter, each in module.entries().items()}
    matrices["Y"] = module.between()
    names = {
        letter: np.array(each.subs(known), float) for letter, each in matrices.items()
    }
    return [at.meaning(names | {r"\Theta'": at.derived()})]


@of("eq-muon-first")
def _(at):
    p_5 = float(at.module.value_at_one())
    return [at.meaning({"s": at.list[0], "p_5": p_5})]
