"""Points of a sweep on an executor: what its workers do, and what becomes of a worker
that dies or stands still.
"""

import collections
import concurrent.futures
import faulthandler
import logging
import multiprocessing
import os
import pickle
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from . import _checks
from .sweep_store import Record

_TRIES = 2  # of a point whose worker died or stood still
_LAST_WORDS = 1.0  # seconds that a worker has to send its answer before it ends
_MODULE = (
    "for a process pool, functions of a module (a file beside the notebook) that the "
    "workers can import; or no executor, or one that can send them, as Dask's"
)
_SPAWN = "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))"

_log = logging.getLogger(__name__)


class Stalled(NamedTuple):
    """The answer of a worker that had none in time."""

    worker: str


class Crew:
    """An executor, and the points that are waiting for it or flying.

    A point whose worker died or stood still is a suspect: it is tried again with no
    other beside it, so that a point that kills its worker is told from those that only
    were there. A process pool that broke is replaced by one of the same kind.
    """

    def __init__(self, executor, solve: Callable, timeout: float | None):
        self.executor = executor
        self.work = Work(solve, timeout, here())
        pool = isinstance(executor, concurrent.futures.ProcessPoolExecutor)
        self.width = _workers(executor) if pool else sys.maxsize
        self.renewed = False
        self.broken = False
        self.flying = {}
        self.waiting = collections.deque()
        self.suspects = collections.deque()
        self.tries = collections.Counter()

    def records(self, points: list) -> Iterator[tuple[int, Record]]:
        """(number of the point, its record), in the order in which they come."""
        self.points = points
        self.waiting.extend(range(len(points)))
        try:
            while self._filled():
                done, _ = concurrent.futures.wait(
                    self.flying, return_when=concurrent.futures.FIRST_COMPLETED
                )
                alone = len(self.flying) == 1
                for future in done:
                    number = self.flying.pop(future)
                    record = self._landed(future, number, alone)
                    if record is not None:
                        yield number, record
        except KeyboardInterrupt:
            yield from self._finished()
            raise
        finally:
            for future in self.flying:
                future.cancel()
            if self.renewed:
                self.executor.shutdown(wait=False, cancel_futures=True)

    def _finished(self) -> Iterator[tuple[int, Record]]:
        """Answers that came together with an interrupt."""
        for future, number in self.flying.items():
            finished = future.done() and not future.cancelled()
            answer = None if not finished or future.exception() else future.result()
            if isinstance(answer, Record):
                yield number, answer

    def _filled(self) -> bool:
        """Send what may be sent now; whether anything is flying."""
        if self.suspects:
            if not self.flying:
                self._send(self.suspects.popleft())
        else:
            while self.waiting and len(self.flying) < self.width:
                self._send(self.waiting.popleft())
        return bool(self.flying)

    def _send(self, number):
        if self.broken:
            self._renew()
        try:
            future = self.executor.submit(self.work, self.points[number])
        except BrokenProcessPool:
            self._renew()
            future = self.executor.submit(self.work, self.points[number])
        self.flying[future] = number

    def _landed(self, future, number, alone) -> Record | None:
        """The record of a point; None if it will be tried again."""
        try:
            answer = future.result()
            if not isinstance(answer, Stalled):
                return answer
            trouble = (
                f"no answer from worker {answer.worker} in {self.work.timeout:g} s"
            )
        except Exception as error:  # a worker died, or could not be sent the problem
            trouble = f"{type(error).__name__}: {error}"
            if isinstance(error, BrokenProcessPool):
                self.broken = True
                if not alone:
                    self.suspects.append(number)
                    return None
        self.tries[number] += 1
        again = self.tries[number] < _TRIES
        _log.warning(
            "sweep: %s, for %s; %s",
            trouble,
            self.points[number],
            "tried again" if again else "given up",
        )
        if again:
            self.suspects.append(number)
            return None
        return Record(f"not computed, {trouble}", {}, False)

    def _renew(self):
        """A pool like the one that broke."""
        pool = self.executor
        pool.shutdown(wait=False, cancel_futures=True)
        self.executor = concurrent.futures.ProcessPoolExecutor(
            _workers(pool),
            mp_context=pool._mp_context,
            initializer=pool._initializer,
            initargs=pool._initargs,
        )
        self.renewed = True
        self.broken = False


def _workers(pool) -> int:
    """Of a process pool."""
    return pool._max_workers


class Work:
    """What a worker is sent: a point in, its record out, or `Stalled` in time."""

    def __init__(self, solve, timeout, driver):
        self.solve = solve
        self.timeout = timeout
        self.driver = driver

    def __call__(self, parameters: dict) -> Record | Stalled:
        own_process = here() != self.driver
        if own_process and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
        if self.timeout is None:
            return self.solve(parameters)
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.solve(parameters)), daemon=True
        )
        if own_process:  # where not even this thread gets to run
            faulthandler.dump_traceback_later(2 * self.timeout + 10, exit=True)
        thread.start()
        thread.join(self.timeout)
        if answers:
            faulthandler.cancel_dump_traceback_later()
            return answers[0]
        faulthandler.dump_traceback(all_threads=True)
        if own_process:
            end = threading.Timer(_LAST_WORDS, os._exit, [1])
            end.daemon = True
            end.start()
        return Stalled(here())


def here() -> str:
    """This process, among those of a cluster."""
    return f"{platform.node()}:{os.getpid()}"


def refuse_pool(executor, problem) -> None:
    """Executors that would hang, and functions that could not be sent to them."""
    if not callable(getattr(executor, "submit", None)):
        need = "a concurrent.futures.Executor, or None"
        _checks.fail("executor", _checks.shown(executor), need)
    if not isinstance(executor, concurrent.futures.ProcessPoolExecutor):
        return
    context = executor._mp_context or multiprocessing.get_context()
    if context.get_start_method() == "fork":
        got = "a pool that starts its workers by fork, in which JAX hangs"
        _checks.fail("executor", got, _SPAWN)
    asked = {"make_network": problem.make_network} | {
        f"quantities[{name!r}]": get for name, get in problem.quantities.items()
    }
    main = sys.modules["__main__"]
    for name, function in asked.items():
        home = getattr(function, "__module__", None)
        if home == "__main__" and not hasattr(main, "__file__"):
            got = f"{_checks.shown(function)}, which exists in this notebook alone"
            _checks.fail(name, got, _MODULE)
        try:
            pickle.dumps(function)
        except Exception as error:  # whatever pickling a user's object may raise
            got = f"{_checks.shown(function)}, which cannot be sent ({error})"
            _checks.fail(name, got, _MODULE)
