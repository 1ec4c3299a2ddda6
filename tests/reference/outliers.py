"""The superseded solver of one step, in s and with a pencil for each form: an oracle.

Outliers of M = M0 + U strengths V^T / m whose spikes may have been computed from M0
itself.

The columns g_j of U (n, l) and h_k of V (m, k) are *queries*: a query may be any
function of the images M0 h of earlier h's, or M0^T g of earlier g's. What level 2 needs
to know of them is, as n, m -> infinity at aspect = n/m, either

* their Grams and responses (`SpikedEnsemble`, the response form), or * the part of M0
that the queries have revealed, and the Grams of what they have revealed beyond their
own span
  (`ConditionedEnsemble`, the conditioning form).

Both reduce to a symmetric matrix T(s), as small as the number of queries, with T(s) y =
0 at an outlier s. A family of eigenvalues falls monotonically in s and crosses 1 at the
outliers, so the number of eigenvalues above 1 at the bulk edge is the number of
outliers, and each is a bracketed root.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jaxtyping import Array, Float

from dmftlib import _checks
from dmftlib.spectra.bulk import RectangularLaw


class Outliers(eqx.Module):
    """Singular values past the bulk edge, and where their singular vectors point; of a
    trajectory with a leading axis of steps, padded with NaN.

    values         (k,)      descending
    left_overlap   (k, l)    squared cosine of the left singular vector with each g_j (0 where g_j = 0)
    right_overlap  (k, k_h)  squared cosine of the right singular vector with each h_k
    """

    values: Float[Array, "*steps k"]
    left_overlap: Float[Array, "*steps k l"]
    right_overlap: Float[Array, "*steps k r"]


class SpikedEnsemble(eqx.Module):
    """M = M0 + U strengths V^T / m, with M0 (n, m) of entries N(0, variance/m), aspect
    = n/m; response form.

    left_gram       G (l, l)  <g_i g_j>, averages over the n left sites
    right_gram      H (k, k)  <h_i h_j>, averages over the m right sites
    left_response   B (l, k)  <d g_j / d (M0 h_k)>, zero if not given
    right_response  A (k, l)  <d h_k / d (M0^T g_j)>, zero if not given
    strengths         (l, k)

    Every vector that M0 was multiplied with on the way to a spike has to be among the
    queries, with zero strength if it is not in a spike: a query left out gives wrong
    outliers. Strengths of order one give singular values of order one at any n, m. With
    zero responses the spikes are independent of M0.

    Raises ValueError for an aspect or variance that is not positive, Grams that are not
    symmetric positive semidefinite, shapes that do not match, NaN, responses that no
    causal order of queries could have, and responses too large for the Grams (the
    covariance of the queries with the images of M0 would not be positive).

    Source: derived in chapter 3 of the book.

    The square spiked covariance (1 + theta v v^T) M0 has its top right direction
    amplified; its spike M0 -> g = M0 v depends on M0 and escapes for every theta above
    sqrt(2) - 1, where an independent spike needs 1:

    >>> spiked = SpikedEnsemble(aspect=1.0, variance=1.0, left_gram=[[1.0]], right_gram=[[1.0]],
    ...                         left_response=[[1.0]], strengths=[[0.8]])
    >>> print(outliers(spiked).values.round(4), outliers(spiked.independent()).values)
    [2.1648] []
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    left_gram: Float[Array, "l l"]
    right_gram: Float[Array, "k k"]
    left_response: Float[Array, "l k"]
    right_response: Float[Array, "k l"]
    strengths: Float[Array, "l k"]

    def __init__(
        self,
        *,
        aspect,
        variance,
        left_gram,
        right_gram,
        strengths,
        left_response=None,
        right_response=None,
    ):
        _checks.positive("aspect", aspect)
        _checks.positive("variance", variance)
        left_gram, right_gram = (
            _checks.gram("left_gram", left_gram),
            _checks.gram("right_gram", right_gram),
        )
        left, right = left_gram.shape[0], right_gram.shape[0]
        self.aspect, self.variance = (
            jnp.asarray(aspect, float),
            jnp.asarray(variance, float),
        )
        self.left_gram, self.right_gram = left_gram, right_gram
        for name, value, shape in (
            ("left_response", left_response, (left, right)),
            ("right_response", right_response, (right, left)),
        ):
            setattr(
                self,
                name,
                jnp.zeros(shape)
                if value is None
                else _checks.array(name, value, shape),
            )
        self.strengths = _checks.array("strengths", strengths, (left, right))
        self._refuse_impossible_responses()

    def _refuse_impossible_responses(self):
        if not all(map(_checks.is_concrete, jax.tree.leaves(self))):
            return
        A, B, G, H = map(
            np.asarray,
            (self.right_response, self.left_response, self.left_gram, self.right_gram),
        )
        onward = (
            (B != 0).astype(int) @ (A != 0)
        ) > 0  # query g_i was computed, one M0^T and one M0 later, from g_j
        for _ in range(len(G).bit_length()):
            onward = onward | (onward.astype(int) @ onward > 0)
        if np.diagonal(onward).any():
            _checks.fail(
                "left_response, right_response",
                "queries that depend on each other in a circle",
                "responses with a causal order: each query a function of earlier ones",
            )
        c, v = float(self.aspect), float(self.variance)
        for name, gram, explained in (
            ("left", G, v * B @ H @ B.T),
            ("right", H, v * c * A @ G @ A.T),
        ):
            if (
                gram.size
                and np.linalg.eigvalsh(gram - explained)[0] < -0.05 * np.abs(gram).max()
            ):
                _checks.fail(
                    f"{name}_response",
                    "responses larger than the Grams allow",
                    f"{name}_gram minus the part that the responses explain to be positive semidefinite",
                )

    @staticmethod
    def from_vectors(M0, U, V, strengths, variance=None) -> "ConditionedEnsemble":
        """The conditioning form from the vectors themselves: M0 (n, m), U (n, l), V (m,
        k), strengths (l, k).

        U and V hold every query ever made to M0 on its side, as columns. `variance` is
        measured from the entries of M0 if not given. At finite n the outliers are those
        of this very M0, up to O(1/n) in the bulk; memory is that of one product M0 V
        and one M0^T U.

        >>> rng = np.random.default_rng(0)
        >>> M0 = rng.standard_normal((600, 600)) / np.sqrt(600)
        >>> h = rng.standard_normal((600, 1))
        >>> g = M0 @ h
        >>> outliers(SpikedEnsemble.from_vectors(M0, g, h, [[0.8]])).values.shape
        (1,)
        """
        M0 = _checks.array("M0", M0, (None, None))
        n, m = M0.shape
        U, V = _checks.array("U", U, (n, None)), _checks.array("V", V, (m, None))
        strengths = _checks.array("strengths", strengths, (U.shape[1], V.shape[1]))
        for name, count, dimension in (("U", U.shape[1], n), ("V", V.shape[1], m)):
            if count >= dimension:
                _checks.fail(
                    name,
                    f"{count} columns of length {dimension}",
                    "fewer queries than dimensions",
                )
        if variance is not None:
            _checks.positive("variance", variance)
        elif _checks.is_concrete(M0) and not jnp.any(M0):
            _checks.fail("M0", "a matrix of zeros", "entries that are not all zero")
        return _reveal(
            M0,
            U,
            V,
            strengths,
            m * jnp.mean(M0**2) if variance is None else jnp.asarray(variance, float),
        )

    def independent(self) -> "SpikedEnsemble":
        """The same Grams and strengths with the responses dropped: the spikes taken as
        independent of M0.
        """
        return eqx.tree_at(
            lambda e: (e.left_response, e.right_response),
            self,
            replace_fn=jnp.zeros_like,
        )

    def conditioned(self, rtol: float = 1e-12) -> "ConditionedEnsemble":
        """The conditioning form of the same ensemble, by Stein's lemma; directions
        whose share of a Gram's largest eigenvalue is below rtol are dropped.
        """
        return _conditioned(self, rtol)

    @property
    def parameters(self):
        """(c, variance, G, H, A, B): all but the strengths."""
        return (
            self.aspect,
            self.variance,
            self.left_gram,
            self.right_gram,
            self.right_response,
            self.left_response,
        )

    @property
    def law(self) -> RectangularLaw:
        """The bulk."""
        return RectangularLaw(self.aspect, self.variance)

    def overlap_matrix(self, s):
        """Q(s) = F^T (s - H0)^{-1} F / m over the queries F = (g_1 … g_l | h_1 … h_k),
        H0 the Hermitization of M0.

        With sources for each query, the two responses and the two overlaps of the
        auxiliary dynamics are one linear solve each.
        """
        c, v, G, H, A, B = self.parameters
        m_L, m_R = self.law.m_left(s), self.law.m_right(s)
        none_L, none_R = jnp.zeros_like(G), jnp.zeros_like(H)
        A_F, B_F = jnp.hstack([none_L, A.T]), jnp.hstack([B.T, none_R])
        G_F, H_F = (
            jnp.hstack([G, jnp.zeros_like(B)]),
            jnp.hstack([jnp.zeros_like(A), H]),
        )
        identity = jnp.eye(len(G))
        alpha = jnp.linalg.solve(
            identity - m_L * m_R * v**2 * c * A.T @ B.T,
            m_R * (A_F + v * c * m_L * A.T @ B_F),
        )
        beta = m_L * (B_F + v * B.T @ alpha)
        source_R = m_R * (H_F + v * c * H @ beta)
        left = jnp.linalg.solve(
            identity - m_L * m_R * v**2 * c * B @ A,
            m_L * (G_F + v * B @ source_R + v * G @ alpha),
        )
        right = source_R + m_R * v * c * A @ left
        Q = jnp.vstack([c * left, right])
        return (Q + Q.T) / 2

    def _spike_operator(self):
        Theta = self.strengths
        l, k = Theta.shape
        return jnp.block([[jnp.zeros((l, l)), Theta], [Theta.T, jnp.zeros((k, k))]])

    def pencil(self, s):
        """T(s) = J - J Q(s) J, J = [[0, strengths], [strengths^T, 0]]: T y = 0 at an
        outlier, with y = Q J y.
        """
        J = self._spike_operator()
        return J - J @ self.overlap_matrix(s) @ J

    def crossings(self, s):
        """Eigenvalues of Q^{1/2} J Q^{1/2}, descending, with y for each: they fall in s
        and cross 1 at the outliers.
        """
        squares, vectors = jnp.linalg.eigh(self.overlap_matrix(s))
        root = vectors * jnp.sqrt(jnp.maximum(squares, 0.0)) @ vectors.T
        values, vectors = jnp.linalg.eigh(root @ self._spike_operator() @ root)
        return values[::-1], root @ vectors[:, ::-1]

    def highest(self):
        """A bound on every outlier: the edge plus the norm of the spikes."""
        _, high = self.law.edges[0]
        left, right = _whiten(self.left_gram, 0.0)[0], _whiten(self.right_gram, 0.0)[0]
        return high + jnp.sqrt(self.aspect) * jnp.linalg.norm(
            left @ self.strengths @ right.T
        )

    def overlaps(self, s, y):
        """Squared cosines with each query, from the solution y of T y = 0 normalised to
        y^T T' y = 2.
        """
        y = self.overlap_matrix(s) @ self._spike_operator() @ y
        G, H = self.left_gram, self.right_gram
        return _share(y[: len(G)] ** 2, self.aspect * jnp.diagonal(G)), _share(
            y[len(G) :] ** 2, jnp.diagonal(H)
        )


class ConditionedEnsemble(eqx.Module):
    """The conditioning form: what the queries have revealed of M0, in orthonormal bases
    Q_L, Q_R of their spans.

    core               D0 = Q_L^T M0 Q_R                       (p, q)
    left_beyond        Q_L^T M0 M0^T Q_L - D0 D0^T             (p, p)  Gram of what M0^T Q_L has outside Q_R
    right_beyond       Q_R^T M0^T M0 Q_R - D0^T D0             (q, q)
    left_coordinates   Q_L^T U / sqrt(n)                       (p, l)
    right_coordinates  Q_R^T V / sqrt(m)                       (q, k)
    strengths                                                  (l, k)

    Given this, the rest of M0 is fresh Gaussian noise that answers through m_L and m_R:
    s is an outlier iff it is an eigenvalue of K(s) = [[m_R left_beyond, D], [D^T, m_L
    right_beyond]] with D = Q_L^T M Q_R.

    Built by `SpikedEnsemble.from_vectors` or `SpikedEnsemble.conditioned`. Source:
    derived in chapter 3 of the book.
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]
    core: Float[Array, "p q"]
    left_beyond: Float[Array, "p p"]
    right_beyond: Float[Array, "q q"]
    left_coordinates: Float[Array, "p l"]
    right_coordinates: Float[Array, "q k"]
    strengths: Float[Array, "l k"]

    @property
    def law(self) -> RectangularLaw:
        """The bulk."""
        return RectangularLaw(self.aspect, self.variance)

    def effective_matrix(self, s):
        """K(s): the Hermitization of M on the span of the queries, the rest of M
        integrated out.
        """
        D = (
            self.core
            + jnp.sqrt(self.aspect)
            * self.left_coordinates
            @ self.strengths
            @ self.right_coordinates.T
        )
        return jnp.block(
            [
                [self.law.m_right(s) * self.left_beyond, D],
                [D.T, self.law.m_left(s) * self.right_beyond],
            ]
        )

    def pencil(self, s):
        """T(s) = s - K(s)."""
        K = self.effective_matrix(s)
        return s * jnp.eye(len(K)) - K

    def crossings(self, s):
        """Eigenvalues of K(s)/s, descending, with their vectors: they fall in s and
        cross 1 at the outliers.
        """
        values, vectors = jnp.linalg.eigh(self.effective_matrix(s))
        return values[::-1] / s, vectors[:, ::-1]

    def highest(self):
        """A bound on every outlier: the top eigenvalue of K at the edge, since it falls
        in s.
        """
        _, high = self.law.edges[0]
        return jnp.maximum(high, jnp.linalg.eigvalsh(self.effective_matrix(high))[-1])

    def overlaps(self, s, y):
        """Squared cosines with each query, from the solution y of T y = 0 normalised to
        y^T T' y = 2.
        """
        U, V, p = self.left_coordinates, self.right_coordinates, len(self.core)
        return _share((y[:p] @ U) ** 2, (U**2).sum(0)), _share(
            (y[p:] @ V) ** 2, (V**2).sum(0)
        )


def outliers(
    ensemble: SpikedEnsemble | ConditionedEnsemble, max_outliers: int | None = None
) -> Outliers:
    """The singular values of M past the bulk edge s_+ = sqrt(variance) (1 +
    sqrt(aspect)), as n, m -> infinity.

    s is an outlier iff T(s) is singular (see `SpikedEnsemble.pencil`). With null vector
    y, normalised to y^T T' y = 2, the overlaps are squares of components of y, and ds =
    -(y^T dT y) / (y^T T' y) is the derivative that JAX is given.

    Without `max_outliers` all outliers are returned and nothing else. With it, or under
    `jit`, `grad` and `vmap`, where shapes are static, there are `max_outliers` rows (at
    most and by default the smaller number of queries) and the absent ones are NaN;
    their gradient is 0. Values can be differentiated once, and so can the overlaps of
    outliers that are not degenerate. A gap below the bulk is not searched. Raises
    ValueError for anything but an ensemble.

    >>> independent = SpikedEnsemble(aspect=0.5, variance=1.0, left_gram=[[1.0]], right_gram=[[1.0]], strengths=[[2.0]])
    >>> found = outliers(independent)
    >>> print(found.values.round(4), found.left_overlap.round(4))
    [1.9365] [[0.7]]
    """
    if not isinstance(ensemble, SpikedEnsemble | ConditionedEnsemble):
        _checks.fail(
            "ensemble",
            type(ensemble).__name__,
            "a SpikedEnsemble or a ConditionedEnsemble",
        )
    possible = min(ensemble.strengths.shape)
    if isinstance(ensemble, ConditionedEnsemble):
        possible = min(
            ensemble.core.shape
        )  # at finite size the queries alone may reveal a large singular value
    if possible == 0:
        l, k = ensemble.strengths.shape
        return Outliers(jnp.zeros(0), jnp.zeros((0, l)), jnp.zeros((0, k)))
    rows = (
        possible
        if max_outliers is None
        else min(_checks.integer("max_outliers", max_outliers, 1), possible)
    )
    found = _outliers(ensemble, rows)
    if max_outliers is None and _checks.is_concrete(found.values):
        present = int(jnp.isfinite(found.values).sum())
        found = jax.tree.map(lambda x: x[:present], found)
    return found


@eqx.filter_jit
def _conditioned(ensemble, rtol) -> ConditionedEnsemble:
    """Inner products of queries and images by Stein's lemma, in the orthonormal bases
    of the queries' spans.
    """
    c, v, G, H, A, B = ensemble.parameters
    left_coordinates, left_whitening = _whiten(G, rtol)
    right_coordinates, right_whitening = _whiten(H, rtol)
    crossed = B @ H + G @ A.T
    images_of_g = v * (G + v * c * (G @ A.T @ B.T + B @ A @ G) + v * c * B @ H @ B.T)
    images_of_h = v * c * (H + v * (H @ B.T @ A.T + A @ B @ H) + v * A @ G @ A.T)
    core = v * jnp.sqrt(c) * left_whitening.T @ crossed @ right_whitening
    return ConditionedEnsemble(
        aspect=c,
        variance=v,
        core=core,
        left_beyond=left_whitening.T @ images_of_g @ left_whitening - core @ core.T,
        right_beyond=right_whitening.T @ images_of_h @ right_whitening - core.T @ core,
        left_coordinates=left_coordinates,
        right_coordinates=right_coordinates,
        strengths=ensemble.strengths,
    )


@jax.jit
def _reveal(M0, U, V, strengths, variance) -> ConditionedEnsemble:
    """What the queries U and V have revealed of M0, projected out of it."""
    n, m = M0.shape
    Q_L, coordinates_L = jnp.linalg.qr(U / jnp.sqrt(n))
    Q_R, coordinates_R = jnp.linalg.qr(V / jnp.sqrt(m))
    core = Q_L.T @ M0 @ Q_R
    beyond_R, beyond_L = M0.T @ Q_L - Q_R @ core.T, M0 @ Q_R - Q_L @ core
    return ConditionedEnsemble(
        aspect=jnp.asarray(n / m),
        variance=variance,
        core=core,
        left_beyond=beyond_R.T @ beyond_R,
        right_beyond=beyond_L.T @ beyond_L,
        left_coordinates=coordinates_L,
        right_coordinates=coordinates_R,
        strengths=strengths,
    )


@eqx.filter_jit
def _outliers(ensemble, rows: int) -> Outliers:
    frozen = jax.lax.stop_gradient(ensemble)
    _, edge = frozen.law.edges[0]
    highest = frozen.highest()
    starts, vectors = frozen.crossings(edge)
    escaped = starts[:rows] > 1

    def locate(k):
        def excess(x, _):
            # in x = sqrt(s - edge) the eigenvalues are smooth at the edge; under vmap
            # this also runs where none escaped
            return jnp.where(
                escaped[k], frozen.crossings(edge + x**2)[0][k] - 1, upper / 2 - x
            )

        upper = jnp.where(escaped[k], jnp.sqrt(highest - edge) * (1 + 1e-9), 1.0)
        coarse = optx.Bisection(rtol=1e-3, atol=1e-6)
        x = optx.root_find(
            excess,
            coarse,
            upper / 2,
            options={"lower": 0.0, "upper": upper},
            throw=False,
        ).value

        def moving(state):
            s, before, count = state
            return (jnp.abs(s - before) > 1e-13 * s) & (count < 20)

        def polish(state):
            s, _, count = state
            return (
                jnp.clip(
                    _newton(frozen, s, frozen.crossings(s)[1][:, k]), edge, highest
                ),
                s,
                count + 1,
            )

        s, _, _ = jax.lax.while_loop(moving, polish, (edge + x**2, jnp.inf, 0))
        return s, frozen.crossings(s)[1][:, k]

    def absent(k):
        return edge, vectors[:, k]

    s, y = jax.lax.map(
        lambda k: jax.lax.cond(escaped[k], locate, absent, k), jnp.arange(rows)
    )
    present = escaped & (s > edge * (1 + 1e-12))
    s, y = jax.lax.stop_gradient((jnp.where(present, s, 2 * highest), y))
    found = jax.vmap(lambda s, y: _with_derivatives(ensemble, frozen.pencil(s), s, y))(
        s, y
    )
    order = jnp.argsort(jnp.where(present, -found[0], jnp.inf))
    return Outliers(*(jnp.where(_column(present, x), x, jnp.nan)[order] for x in found))


def _column(mask, x):
    return mask.reshape(-1, *[1] * (x.ndim - 1))


def _pencil_and_slope(ensemble, s):
    """T(s) and T'(s)."""
    return jax.jvp(ensemble.pencil, (s,), (jnp.ones_like(s),))


def _newton(ensemble, s, y):
    """A Newton step for y^T T(s) y = 0. From the solution it does not move s, but
    carries its first derivatives.
    """
    T, slope = _pencil_and_slope(ensemble, s)
    slope = y @ jax.lax.stop_gradient(slope) @ y
    return s - y @ T @ y / jnp.where(slope > 0, slope, 1.0)


def _with_derivatives(ensemble, solved, s, y):
    """The outlier and its overlaps, from a solution of T(s) y = 0 that is known as
    numbers only; `solved` is T(s).

    By first-order perturbation theory s moves by the Newton step, y by the
    pseudo-inverse of T times T's change.
    """
    s = _newton(ensemble, s, y)
    T, slope = _pencil_and_slope(ensemble, s)
    y = y - jnp.linalg.pinv(solved, rtol=1e-9, hermitian=True) @ (T @ y)
    norm = y @ slope @ y
    return s, *ensemble.overlaps(s, y * jnp.sqrt(2 / jnp.where(norm > 0, norm, 1.0)))


def _whiten(gram, rtol):
    """R with gram = R^T R, and W with W^T gram W = 1 on the directions kept (zero on
    the others).
    """
    squares, vectors = jnp.linalg.eigh(gram)
    kept = (squares > rtol * squares[-1:]) & (squares > 0)
    root = jnp.sqrt(jnp.where(kept, squares, 1.0))
    return jnp.where(kept, root, 0.0)[:, None] * vectors.T, vectors * jnp.where(
        kept, 1 / root, 0.0
    )


def _share(square, total):
    return jnp.where(total > 0, square / jnp.where(total > 0, total, 1.0), 0.0)
