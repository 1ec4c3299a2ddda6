"""Execute the notebooks of the book, two at a time, into the cache that the site is
built from.

    python -m tools.execute_book _build/.jupyter_cache

A notebook is executed again if its code has changed, all of them if anything has that
they may use: the library, the derivations, stored results, the versions of packages, or
a caption (the cache keeps those of the time of execution). Where the tests have just
executed a notebook, and every one of its outputs and figures was as committed
(`kept_outputs`), the site shows what came out there.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import nbformat
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors import load_executor

ROOT = Path(__file__).parents[1]
USED = [
    "dmftlib/**/*.py",
    "book/*.py",
    "book/derivations/*.py",
    "book/exercises/*.py",
    "experiments/*.py",
    "book/_data/*.*",
    "constraints.txt",
]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
CACHE = ROOT / "_build" / ".jupyter_cache"
SECONDS, AT_ONCE = 600, 2


def fingerprint() -> str:
    paths = sorted(path for pattern in USED for path in ROOT.glob(pattern))
    captions = [
        cell["metadata"]
        for path in NOTEBOOKS
        for cell in json.loads(path.read_text())["cells"]
    ]
    files = b"".join(str(path).encode() + path.read_bytes() for path in paths)
    return hashlib.sha256(files + json.dumps(captions).encode()).hexdigest()


def execute(folder: str, notebook: str) -> bool:
    executor = load_executor("local-serial", get_cache(folder))
    return executor.run_and_cache(
        filter_uris=[notebook], timeout=SECONDS
    ).succeeded == [notebook]


def up_to_date(folder: Path):
    """The cache, emptied if anything has changed."""
    stamp = folder / "made_with"
    now = fingerprint()
    if not stamp.exists() or stamp.read_text() != now:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    stamp.write_text(now)
    return get_cache(str(folder))


def keep(folder: Path, notebook: Path, outputs: list):
    """Put a notebook with these outputs of its code cells into the cache."""
    executed = nbformat.read(notebook, nbformat.NO_CONVERT)
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    for cell, own in zip(code, outputs, strict=True):
        cell.outputs = own
    bundle = CacheBundleIn(executed, str(notebook))
    cache = get_cache(str(folder))
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def main(folder: Path) -> int:
    cache = up_to_date(folder)
    for notebook in NOTEBOOKS:
        cache.add_nb_to_project(str(notebook))
    todo = [record.uri for record in cache.list_unexecuted()]
    failed = []
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(AT_ONCE, mp_context=spawn) as pool:
        for uri, done in zip(
            todo, pool.map(execute, [str(folder)] * len(todo), todo), strict=True
        ):
            print(f"{'executed' if done else 'FAILED'} {Path(uri).name}", flush=True)
            failed += [] if done else [uri]
    for record in cache.list_project_records():
        if record.uri in failed:
            print(record.traceback)
    return len(failed)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1]).resolve()), 1))
