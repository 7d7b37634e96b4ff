"""Every benchmark explains its options."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks

NAMES = sorted(path.parent.name for path in Path(benchmarks.__path__[0]).glob("*/__main__.py"))


@pytest.mark.parametrize("name", NAMES)
def test_help_is_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A percent sign in a help text is printed as one: argparse would put a dictionary in its place."""
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}.__main__").main(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "--json" in told
    assert "{'" not in told
