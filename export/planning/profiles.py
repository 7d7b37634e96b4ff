"""Device profiles: one TOML file each in ``devices/``; what a device can spend and how fast it computes."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from export.errors import ConfigError
from export.source.app_tokenizers import KINDS
from export.source.families import TASKS

_SOFTWARE: Final = {"tokenizers": KINDS, "tasks": TASKS}
"""What a profile may say of its device's software, and the names that it may use."""
FOLDER: Final = Path(__file__).parents[1] / "devices"


@dataclass(frozen=True)
class Budget:
    """What a device can spend.

    Args:
        memory_mib: resident memory of the process that trains.
        storage_mb: 10^6 bytes of flash for a package.
        bytes_up: sent in one round.
        bytes_down: received in one round.
        round_seconds: spent computing in one round.
    """

    memory_mib: float
    storage_mb: float
    bytes_up: int
    bytes_down: int
    round_seconds: float


@dataclass(frozen=True)
class Compute:
    """How fast a device computes.

    Args:
        threads: how many a program gets.
        int8_gmac_s: 10^9 multiply-accumulates a second reached in int8 GEMMs with these threads.
        fp32_gmac_s: the same in float32.
        memory_gb_s: 10^9 bytes a second reached by elementwise passes.
    """

    threads: int
    int8_gmac_s: float
    fp32_gmac_s: float
    memory_gb_s: float


@dataclass(frozen=True)
class Defaults:
    """What export takes unless its options say otherwise.

    Args:
        seq_len: tokens of a text at most; with ``--data``, texts that are all shorter get less.
        batch_size: texts of a step at most.
        steps_per_round: that a tier must have time for in ``round_seconds``.
        runtime_mib: resident memory of the runtime's process before a program is loaded.
    """

    seq_len: int
    batch_size: int
    steps_per_round: int
    runtime_mib: float


@dataclass(frozen=True)
class DeviceProfile:
    """One device.

    Args:
        name: as ``--device`` has it, and as the manifest and Hello tell it.
        title: for people.
        tokenizers: kinds of tokenizer that its software reads; left out: all.
        tasks: what its software does, "classification" or "causal-lm"; left out: all.
    """

    name: str
    title: str
    budget: Budget
    compute: Compute
    defaults: Defaults
    tokenizers: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for the manifest."""
        return {name: value for name, value in asdict(self).items() if name not in _SOFTWARE}


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles that ship with export."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def load_profile(device: str) -> DeviceProfile:
    """Read a profile by name, or by the path of a TOML file.

    Raises:
        ConfigError: for an unknown device (listing the known) or a damaged file (saying which key).
    """
    path = Path(device) if device.endswith(".toml") else FOLDER / f"{device}.toml"
    if not device.endswith(".toml") and device not in profile_names():
        raise ConfigError(
            f"unknown device {device!r}; known: {', '.join(profile_names())};"
            f" or give a TOML file like {FOLDER.name}/pixel8.toml"
        )
    try:
        tree = tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:  # what is no UTF-8 or no TOML is a ValueError
        raise ConfigError(f"device profile {path} cannot be read: {error}") from error
    sections: dict[str, Any] = {
        name: _section(kind, tree.pop(name, None), name, path)
        for name, kind in (("budget", Budget), ("compute", Compute), ("defaults", Defaults))
    }
    sections |= {name: _names(tree.pop(name, []), name, path) for name in _SOFTWARE}
    if set(tree) != {"name", "title"}:
        raise ConfigError(
            f"device profile {path}: expected name, title, [budget], [compute], [defaults]; also got {sorted(tree)}"
        )
    return DeviceProfile(str(tree["name"]), str(tree["title"]), **sections)


def _names(values: object, name: str, path: Path) -> tuple[str, ...]:
    """Check a list of what a device's software can do."""
    known_names = _SOFTWARE[name]
    if not isinstance(values, list) or not all(value in known_names for value in values):
        raise ConfigError(f"device profile {path}: {name} = {values!r}; expected a list of {', '.join(known_names)}")
    return tuple(values)


def _section(kind: type, values: object, name: str, path: Path) -> Any:  # noqa: ANN401 - one of three dataclasses
    wanted = {field.name: str(field.type) for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != set(wanted):
        keys = sorted(values) if isinstance(values, dict) else "nothing"
        raise ConfigError(f"device profile {path}: [{name}] must have {sorted(wanted)}, got {keys}")
    for key, value in values.items():
        whole = wanted[key] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value <= 0:
            raise ConfigError(
                f"device profile {path}: [{name}] {key} = {value!r} is no positive {'integer' if whole else 'number'}"
            )
    return kind(**{key: int(value) if wanted[key] == "int" else float(value) for key, value in values.items()})
