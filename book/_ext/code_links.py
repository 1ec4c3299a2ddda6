"""Names in code cells lead to the API page (sphinx-codeautolink), exercises among them.

sphinx-codeautolink keeps a stack of titles, and sphinx-exercise makes sections without
one, which would empty it.
"""

from sphinx_codeautolink.extension.block import CodeBlockAnalyser


def depart_section(self, node):
    if self.title_stack:
        self.title_stack.pop()


def setup(app):
    CodeBlockAnalyser.depart_section = depart_section
    app.setup_extension("sphinx_codeautolink")
    return dict(parallel_read_safe=True, parallel_write_safe=True)
