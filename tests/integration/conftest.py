"""Packages, data and the undisturbed run that the tests of the loop share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loop_house import House
from loop_packages import Packages, write_data
from loop_story import Data, Story, undisturbed_story


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Packages]:
    """Return the packages of the little backbone."""
    made = Packages(tmp_path_factory.mktemp("packages"))
    made.begin("one", "two")
    yield made
    made.close()


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
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house for gateways and devices; nothing in it outlives the test."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, packages: Packages, data: Data) -> Story:
    """Return what two rounds of two devices are when nothing goes wrong."""
    made = House(tmp_path_factory.mktemp("undisturbed"))
    try:
        return undisturbed_story(made, packages, data)
    finally:
        made.close()
