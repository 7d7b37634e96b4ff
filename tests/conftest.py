"""Settings that every test shares, and how the files of a run are dealt to its workers."""

from __future__ import annotations

import ast
import gc
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No time limits: the machine is shared. The same examples in every run: a failure is found again.
settings.register_profile(
    "shared", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("shared")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's threads in a test's process: the other core is in use

# A run in the background (`make test &`) ignores Ctrl-C, and so would every program that its tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if sys.version_info < (3, 11, 8):
    # CPython issue 106905: a collection while source is parsed may run a finalizer whose warning is formatted, which
    # parses, too; the outer parse then ends in "AST constructor recursion depth mismatch".
    _parse = ast.parse

    def _parse_without_collection(*args: Any, **keywords: Any) -> ast.AST:
        collects = gc.isenabled()
        gc.disable()
        try:
            return _parse(*args, **keywords)
        finally:
            if collects:
                gc.enable()

    ast.parse = _parse_without_collection  # type: ignore[assignment]

TOGETHER = ("tests/integration/",)
"""Folders whose packages and undisturbed run are made once: one worker has all of it."""
FIRST = ("tests/integration/", "tests/export/")
"""What takes longest starts first, so that no worker waits long for the other at the end."""


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this run, the same for all its workers: what one of them made is there for the others."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def programs(run_folder: Path) -> Path:
    """Return the export's cache for this run: a program is compiled once, whichever test comes first."""
    return run_folder / "programs"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a worker's files be in the order in which they are dealt out."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Deal whole files to the workers, as fixtures are a file's."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    config.option.loadscopereorder = False  # it would begin with the files of most tests, which are the quick ones
    return Files(config, log)


def _turn(nodeid: str) -> int:
    return next((place for place, folder in enumerate(FIRST) if nodeid.startswith(folder)), len(FIRST))
