"""`pytest --nbval book` checks the figures of the chapters along with their printed outputs."""

import os

os.environ["MPLBACKEND"] = "module://figure_check"
