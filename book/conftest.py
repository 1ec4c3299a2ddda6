"""`pytest --nbval book` checks figures along with printed outputs, and the time and
memory that each chapter takes.

The limits are those of a free Binder: processor time (not the time on the clock, which
depends on what else the machine does) and peak memory of the kernel, read when its last
cell has run.
"""

import os
from pathlib import Path

import psutil
import pytest

os.environ["MPLBACKEND"] = "module://figure_check"
# 90 s is what a chapter should take on an idle machine, and they take 25 to 87. Rented
# processors, of which two share a core, have taken more than twice as long.
SECONDS, GIGABYTES = 300, 1.5


def taken(kernel) -> tuple[float, float]:
    """Processor time and peak memory (0 where the system does not tell) of a kernel and
    its children.
    """
    process = psutil.Process(kernel.km.provisioner.pid)
    times, status = process.cpu_times(), Path(f"/proc/{process.pid}/status")
    peak = status.read_text().split("VmHWM:")[1].split()[0] if status.exists() else 0
    return times.user + times.system + times.children_user + times.children_system, int(
        peak
    ) / 1024**2


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    kernel = getattr(item.parent, "kernel", None)
    last = (
        kernel is not None
        and kernel.is_alive()
        and (nextitem is None or nextitem.parent is not item.parent)
    )
    seconds, gigabytes = taken(kernel) if last else (0, 0)
    if last:
        item.user_properties.append(
            ("taken", f"{item.path.name}: {seconds:.0f} s, {gigabytes:.2f} GB")
        )
    result = yield
    if seconds > SECONDS or gigabytes > GIGABYTES:
        pytest.fail(
            f"{item.path.name} took {seconds:.0f} s, {gigabytes:.2f} GB; at most {SECONDS} s, {GIGABYTES} GB"
        )
    return result


def pytest_terminal_summary(terminalreporter):
    for report in (
        report for reports in terminalreporter.stats.values() for report in reports
    ):
        if getattr(report, "when", "") == "teardown":
            for _, text in report.user_properties:
                terminalreporter.write_line(text)
