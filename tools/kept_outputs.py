"""A plugin for `pytest --nbval`: a notebook of which every output and figure was as
committed need not be executed again for the site (`execute_book`), which shows what came
out here.

    python -m pytest -p tools.kept_outputs --nbval book
"""

import json
from pathlib import Path

import pytest

from tools import execute_book


def pytest_sessionstart(session):
    """Before workers begin: nothing in the cache of the site that is out of date."""
    if not hasattr(session.config, "workerinput"):
        execute_book.up_to_date(execute_book.CACHE)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and report.passed:
        item.parent.fresh = [*getattr(item.parent, "fresh", []), item.test_outputs]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    result = yield
    last = nextitem is None or nextitem.parent is not item.parent
    fresh = getattr(item.parent, "fresh", [])
    if last and len(fresh) == compared_cells(item.path):
        execute_book.keep(execute_book.CACHE, item.path, fresh)
    return result


def compared_cells(path: Path) -> int:
    """The code cells of a notebook; -1 if not all of them are compared."""
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    tags = [tag for cell in code for tag in cell["metadata"].get("tags", [])]
    return -1 if any(tag.startswith("nbval") for tag in tags) else len(code)
