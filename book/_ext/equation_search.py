"""The search of the site finds numbered equations by their labels: "first outlier" leads to eq-first-outlier."""

from sphinx.domains import ObjType
from sphinx.domains.math import MathDomain


class NamedEquations(MathDomain):
    object_types = {"equation": ObjType("equation", "eq")}

    def get_objects(self):
        for label, (page, _) in self.equations.items():
            yield label, label, "equation", page, f"equation-{label}", 1


def setup(app):
    app.add_domain(NamedEquations, override=True)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
