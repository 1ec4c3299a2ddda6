"""Few outputs and many: the thresholds that were fixed before the runs on a large GPU,
applied to each kind of matrix on its own.

    P ~ N^b (participation ratio of the update), k ~ N^e (outliers), D ~ N^-a (distance
    of the bulk), phi (share of the update in the outliers), over the widths N

    finite:        b, e <= 0.2, a >= 0.7 and phi >= 0.8 at the largest width
    restructured:  b >= 0.6, a <= 0.3 and phi <= 0.3 at the largest width

at the last step that is sound. Exponents are slopes of a straight line in logarithms;
with one seed, three widths leave one degree of freedom, and the 95 % interval is
Student's. A picture is refuted where one of its conditions is: by an interval that lies
wholly on the wrong side, or by the share. The verdict is the picture that holds while
the other is refuted; *between* if both are refuted; *open* otherwise. `power` is the
half width of the wider interval, of b or of a, over the distance of their thresholds,
0.4: above one half a test can miss what it looks for.

    python -m experiments.outputs_verdict
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from experiments import protocol

FEW, MANY = 0.2, 0.6  # b, e of a finite number of outliers; b of a restructured bulk
FALLS, STAYS = 0.7, 0.3  # a of the two
CONCENTRATED, SPREAD = 0.8, 0.3  # phi of the two
RUN = ["family", "outputs", "type"]


def exponent(widths, values) -> "Interval":
    """Slope of log values in log widths, with its 95 % interval."""
    x = np.log(widths)
    design = np.stack([np.ones_like(x), x], axis=1)
    y = np.log(values)
    (_, slope), *_ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ np.linalg.pinv(design) @ y
    freedom = len(x) - 2
    variance = (residual**2).sum() / freedom / ((x - x.mean()) ** 2).sum()
    return Interval(float(slope), float(stats.t.ppf(0.975, freedom) * variance**0.5))


class Interval(NamedTuple):
    """An exponent and the half width of its interval."""

    value: float
    error: float

    def above(self, limit: float) -> bool:
        return self.value - self.error > limit

    def below(self, limit: float) -> bool:
        return self.value + self.error < limit


def verdict(b: Interval, e: Interval, a: Interval, share: float) -> str:
    """The rule, with the errors of the exponents."""
    too_many = b.above(FEW) or e.above(FEW)
    not_finite = too_many or a.below(FALLS) or share < CONCENTRATED
    too_few = b.below(MANY) or a.above(STAYS)
    not_restructured = too_few or share > SPREAD
    is_finite = b.value <= FEW and e.value <= FEW and a.value >= FALLS
    is_restructured = b.value >= MANY and a.value <= STAYS
    if not_finite and not_restructured:
        return "between"
    if not_restructured and is_finite:
        return "finite"
    if not_finite and is_restructured:
        return "restructured"
    return "open"


def judged(part: pd.DataFrame) -> dict:
    """One kind of matrix over the widths, at the last step of each."""
    part = part.sort_values("width")
    b = exponent(part.width, part.participation_ratio)
    a = exponent(part.width, 1 / part.kolmogorov)
    # half an outlier more, so that none at all has a logarithm
    e = exponent(part.width, part.outliers + 0.5)
    share = float(part.share.iloc[-1])
    return {
        "b": b.value,
        "b_error": b.error,
        "e": e.value,
        "e_error": e.error,
        "a": a.value,
        "a_error": a.error,
        "share": share,
        "power": max(b.error, a.error) / (MANY - FEW),
        "verdict": verdict(b, e, a, share),
    }


def verdicts(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """All families of three widths or more, at the last sound step."""
    table = protocol.load("large_runs") if table is None else table
    # the rate of these runs was too large: by their ends the weights have moved by many
    # times their size
    sound = (table.family != "mlp, cross-entropy") | (table.step <= 256)
    table = table[sound]
    last = table[table.step == table.groupby("family").step.transform("max")]
    last = last[(last.refused == 0) & (last["rank"] == 0)]
    rows = {
        run: judged(part)
        for run, part in last.groupby(RUN)
        if part.width.nunique() >= 3
    }
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index.names = RUN
    return found


if __name__ == "__main__":
    print(verdicts().round(2).to_string())
