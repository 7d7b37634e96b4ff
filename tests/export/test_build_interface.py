"""``build_package`` as programs call it; the command of the same work is in test_build_command.py."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.manifest import Manifest, Package
from edge_runtime.wire.signatures import SigningKey, SigningKeyError
from export import Built, ExportConfig, FederationError, build_package
from export.errors import ConfigError
from export.interface import BuildSettings

ROOT = Path(__file__).parents[2]
SIZES: BuildSettings = {
    "experts": 3, "train_slots": 2, "rank": 4, "shared_rank": 3, "seq_len": 12, "batch_size": 4, "quantize": "none"
}  # fmt: skip


def test_what_was_built_is_returned(tiny: Path, programs: Path, tmp_path: Path) -> None:
    """Folder, manifest, sizes, errors against PyTorch; signed; labels from a list; stages are told."""
    key = SigningKey.create(tmp_path / "maker.pem")
    stages, expected = list[str](), list[int]()
    built = build_package(
        "linux-x86_64", model=tiny, labels=("red", "green", "blue"), out=tmp_path / "package", cache_dir=programs,
        sign=tmp_path / "maker.pem", stage=stages.append, expect=expected.append, **SIZES,
    )  # fmt: skip
    assert isinstance(built, Built)
    assert built.folder == tmp_path / "package"
    assert isinstance(built.manifest, Manifest)
    assert built.manifest.architecture.labels == ("red", "green", "blue")
    sizes = {path.relative_to(built.folder).as_posix(): path.stat().st_size for path in built.folder.rglob("*.*")}
    assert built.file_bytes.items() <= sizes.items()
    assert set(sizes) - set(built.file_bytes) == {"manifest.json", "manifest.sig"}
    assert 0 < built.errors["gradient_error"] < 1e-3
    assert 0 <= built.errors["onnx_probability_difference"] < 1e-3
    assert stages[-1] == "write the package"
    assert len(expected) == 1
    Package.open(built.folder, maker=key.public)


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"experts": 0}, ConfigError, "experts 0: must be between 1 and 256"),
        ({"quantize": "int5"}, ConfigError, "quantize int5: must be one of int8, int4, none"),
        ({"labels": "red"}, ConfigError, "no such file, and no list either"),
        ({"labels": ["red", "red"]}, ConfigError, "labels that stand twice"),
        ({"data": "none.csv"}, DataError, "none.csv"),
        ({"sign": "none.pem"}, SigningKeyError, "none.pem"),
    ],
)
def test_refusals_come_before_the_work(more: dict[str, object], error: type[Exception], text: str) -> None:
    """Each is a ``FederationError``; nothing is written."""
    with pytest.raises(error, match=text) as caught:
        build_package("linux-x86_64", **{"out": "nowhere", **more})  # type: ignore[arg-type]
    assert isinstance(caught.value, FederationError)
    assert not Path("nowhere").exists()


def test_settings_are_those_of_the_configuration() -> None:
    """Every field that ``build_package`` does not name itself, with its type."""
    fields, own = typing.get_type_hints(ExportConfig), set(typing.get_type_hints(build_package))
    settings = typing.get_type_hints(BuildSettings)
    named = own | {"texts"}
    assert set(settings) == {field.name for field in dataclasses.fields(ExportConfig)} - named
    assert all(fields[name] == settings[name] for name in settings)


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    """Worker processes do not run their caller's script again, as multiprocessing would have them."""
    script = tmp_path / "script.py"
    script.write_text(
        "from export.packaging.workers import Task, run_tasks\n"
        "print('begun', flush=True)\n"
        "task = Task('it', 'double', (21,), module='little_tasks')\n"
        "run_tasks([task, task], print, lambda place, result: print(result[0], flush=True), workers=1)\n"
    )
    path = f"{ROOT}:{ROOT / 'tests/export'}"
    done = subprocess.run(
        [sys.executable, script], env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["begun", "double 21", "42", "double 21", "42", ""]
