"""Packages, data and the undisturbed run that the tests of the loop share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_federation import Federation
from loop_packages import Packages, write_data
from loop_story import Data, Story, undisturbed_story


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packages]:
    """Return the packages of the little backbone."""
    packages = Packages(tmp_path_factory.mktemp("packages"))
    packages.begin("one", "two")
    yield packages
    packages.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Return two devices' label-skewed texts, and held-out ones."""
    folder = tmp_path_factory.mktemp("data")
    return Data(
        ada=write_data(folder / "ada.csv", {"alarm": 12, "music": 3}, 1),
        bo=write_data(folder / "bo.csv", {"music": 9, "light": 14}, 2),
        held_out=write_data(folder / "held-out.csv", {"alarm": 15, "music": 15, "light": 15}, 3),
    )


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """Return a federation in a folder of its own; nothing of it outlives the test."""
    federation = Federation(tmp_path)
    yield federation
    federation.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, packages: Packages, data: Data) -> Story:
    """Return what two rounds of two devices are when nothing goes wrong."""
    federation = Federation(tmp_path_factory.mktemp("undisturbed"))
    try:
        return undisturbed_story(federation, packages, data)
    finally:
        federation.close()


@pytest.fixture(scope="session")
def stepped(tmp_path_factory: pytest.TempPathFactory, packages: Packages, data: Data) -> Story:
    """Return the same with versions that go down in steps of int8."""
    federation = Federation(tmp_path_factory.mktemp("stepped"))
    try:
        return undisturbed_story(federation, packages, data, "int8")
    finally:
        federation.close()
