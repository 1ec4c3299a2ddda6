"""The search of the site finds numbered equations by their labels: "first outlier"
leads to eq-first-outlier. What other fields call by names that this book hardly uses
leads to the equation that says it.
"""

from sphinx.domains import ObjType
from sphinx.domains.math import MathDomain

SUBJECTS = {
    "DMFT: dynamical mean-field theory": "eq-whole-theory",
    "BBP transition: escape of an outlier": "eq-escape",
    "Onsager term: the echo": "eq-answers",
    "AMP, approximate message passing: answers and echoes": "eq-answers",
    "NTK: neural tangent kernel": "eq-ntk-bulk",
}


class NamedEquations(MathDomain):
    object_types = {
        "equation": ObjType("equation", "eq"),
        "subject": ObjType("subject", "eq"),
    }

    def get_objects(self):
        for label, (page, _) in self.equations.items():
            yield label, label, "equation", page, f"equation-{label}", 1
        for subject, label in SUBJECTS.items():
            if label in self.equations:
                page, _ = self.equations[label]
                yield subject, subject, "subject", page, f"equation-{label}", 1


def setup(app):
    app.add_domain(NamedEquations, override=True)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
