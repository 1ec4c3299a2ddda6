"""Bulk laws: where the singular values of a random matrix lie, and its resolvent away from them.

The resolvent is a response. Let H = [[0, M], [M^T, 0]] and let a field obey da/dtau = -s a + H a + source in an
auxiliary time tau: the Laplace transform of its response to the source is (s - H)^{-1}. This is the second level.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .. import checks

_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(200)


class RectangularLaw(eqx.Module):
    """The law of the min(n, m) singular values of an n x m matrix M0 with iid N(0, variance/m) entries, aspect = n/m.

    As n, m -> infinity the symmetrised resolvent has the traces

        m_L = (1/n) tr s (s^2 - M0 M0^T)^{-1},   m_R = (1/m) tr s (s^2 - M0^T M0)^{-1},
        m_L = 1/(s - variance m_R),              m_R = 1/(s - variance aspect m_L),

    and the singular values fill [s_-, s_+], s_± = sqrt(variance) |1 ± sqrt(aspect)|.

    All methods take numbers or arrays of any shape. `atoms` is empty: the zeros that a non-square M0 must have are
    not among its min(n, m) singular values. They are in M0 M0^T and M0^T M0, and so in m_L and m_R: `left_atom` and
    `right_atom` are their fractions.

    Source: the cavity derivation in chapter 2 of the book (Marchenko and Pastur 1967).

    >>> law = RectangularLaw(aspect=0.25, variance=1.0)
    >>> [round(float(edge), 3) for edge in law.edges[0]]
    [0.5, 1.5]
    >>> round(float(law.m_left(2.0)), 4)
    0.6883
    """

    aspect: Float[Array, ""]
    variance: Float[Array, ""]

    def __init__(self, aspect, variance):
        self.aspect = jnp.asarray(checks.positive("aspect", aspect), float)
        self.variance = jnp.asarray(checks.positive("variance", variance), float)

    @property
    def edges(self) -> tuple:
        """((s_-, s_+),): the one interval that the singular values fill."""
        scale, root = jnp.sqrt(self.variance), jnp.sqrt(self.aspect)
        return ((scale * jnp.abs(1 - root), scale * (1 + root)),)

    @property
    def atoms(self) -> tuple:
        """Pairs (position, weight). None here."""
        return ()

    @property
    def left_atom(self) -> Float[Array, ""]:
        """Fraction of the n eigenvalues of M0 M0^T that are exactly zero: max(0, 1 - 1/aspect)."""
        return jnp.maximum(0.0, 1 - 1 / self.aspect)

    @property
    def right_atom(self) -> Float[Array, ""]:
        """Fraction of the m eigenvalues of M0^T M0 that are exactly zero: max(0, 1 - aspect)."""
        return jnp.maximum(0.0, 1 - self.aspect)

    def _discriminant_root(self, s):
        """sqrt((s^2 - s_-^2)(s^2 - s_+^2)), the branch that grows like s^2."""
        low, high = (edge.astype(s.dtype) for edge in self.edges[0])
        square = s * s
        if jnp.iscomplexobj(s):
            return jnp.sqrt(square - low**2) * jnp.sqrt(square - high**2)
        outside = (s - high) * (s + high) * (s - low) * (s + low)
        return jnp.where(outside > 0, jnp.sign(square - low**2) * jnp.sqrt(jnp.where(outside > 0, outside, 1.0)), 0.0)

    def _off_the_bulk(self, name, s, mirrored: bool):
        """s as a real or complex array, refused on the bulk (and on its mirror image)."""
        s = checks.points(name, s, complex_too=True)
        if checks.known((s, self)):
            low, high = (float(edge) for edge in self.edges[0])
            points = np.asarray(s)
            size = np.abs(points.real) if mirrored else points.real
            inside = (size < high * (1 - 1e-12)) & (size > low * (1 + 1e-12)) & (points.imag == 0)
            if np.any(inside):
                need = f"a point off the bulk [{low:.6g}, {high:.6g}] (real, or with an imaginary part)"
                checks.fail(name, f"{points[inside].flat[0].real:.6g}", need)
        return jnp.asarray(s, complex if jnp.iscomplexobj(s) else float)

    def m_left(self, s):
        """m_L(s) = (1/n) tr s (s^2 - M0 M0^T)^{-1}, for s off the bulk, real or complex."""
        return self._symmetrised(self._off_the_bulk("s", s, mirrored=True), left=True)

    def m_right(self, s):
        """m_R(s) = (1/m) tr s (s^2 - M0^T M0)^{-1}, for s off the bulk, real or complex."""
        return self._symmetrised(self._off_the_bulk("s", s, mirrored=True), left=False)

    def _symmetrised(self, s, left):
        """The root of the quadratic that decays like 1/s, in the one of its two forms that does not cancel."""
        c, v = self.aspect.astype(s.dtype), self.variance.astype(s.dtype)
        middle = s * s - jnp.where(left, v * (1 - c), v * (c - 1))
        root = self._discriminant_root(s)
        direct = jnp.abs(middle + root) >= jnp.abs(middle - root)
        larger = jnp.where(direct, middle + root, middle - root)
        return jnp.where(direct, 2 * s / larger, larger / (2 * v * jnp.where(left, c, 1.0) * s))

    def _nodes(self):
        """Positions and weights of a quadrature: E f = sum weights f(positions)."""
        (low, high) = self.edges[0]
        half_angle = jnp.pi / 4 * (1 + _GAUSS_LEGENDRE[0])
        square = low**2 + (high**2 - low**2) * jnp.cos(half_angle) ** 2
        weights = _GAUSS_LEGENDRE[1] * jnp.sin(2 * half_angle) ** 2 / square
        return jnp.sqrt(square), weights / weights.sum()

    def stieltjes(self, z):
        """E[1/(z - x)] over the singular values x, for z off the bulk, real or complex.

        With m the symmetrised transform on the smaller side it is 2 m(z) - E[1/(z + x)] where Re z >= 0, so that the
        only average left to quadrature is smooth.
        """
        z = self._off_the_bulk("z", z, mirrored=False)
        position, weight = (nodes.astype(z.dtype) for nodes in self._nodes())
        mirrored = (weight / (jnp.where(z.real < 0, -z, z)[..., None] + position)).sum(-1)
        return jnp.where(z.real < 0, -mirrored, 2 * self._symmetrised(z, left=self.aspect <= 1) - mirrored)

    def density(self, x):
        """Density of the singular values, normalised to one on [s_-, s_+] and zero outside."""
        x = jnp.asarray(checks.points("x", x), float)
        (low, high) = self.edges[0]
        inside = (x > low) & (x < high)
        safe = jnp.where(inside, x, (low + high) / 2)
        height = jnp.sqrt(jnp.maximum((high**2 - safe**2) * (safe**2 - low**2), 0.0))
        return jnp.where(inside, height / (jnp.pi * self.variance * jnp.minimum(1.0, self.aspect) * safe), 0.0)

    def cdf(self, x):
        """Fraction of the singular values at or below x, in closed form."""
        (low, high) = self.edges[0]
        a, b, mean = low**2, high**2, low * high
        square = jnp.clip(jnp.asarray(checks.points("x", x), float), 0.0) ** 2
        inside = (square > a) & (square < b)
        y = jnp.where(inside, square, (a + b) / 2)
        root = jnp.sqrt((b - y) * (y - a))
        middle = (a + b) / 2 * jnp.arctan2(2 * y - a - b, 2 * root)
        gap = mean * jnp.arctan2((a + b) * y - 2 * a * b, 2 * mean * root)
        total = jnp.pi / 2 * ((a + b) / 2 - mean)
        return jnp.where(inside, (root + middle - gap + total) / (2 * total), (square >= b).astype(float))


def rectangular_law(aspect, variance) -> RectangularLaw:
    """The law of the singular values of an n x m matrix with iid N(0, variance/m) entries, aspect = n/m.

    Raises ValueError unless both are positive and finite. See `RectangularLaw`.

    >>> round(float(rectangular_law(1.0, 4.0).cdf(4.0)), 6)
    1.0
    """
    return RectangularLaw(aspect, variance)
