"""Arrows and weight: who may import whom, and which file may load which heavy library.

Read from the syntax trees of the real files, imports inside functions included.
"""

from __future__ import annotations

import ast
import gc
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("edge_runtime", "export", "broker_server", "benchmarks", "docs")
FIRST_PARTY = {*PACKAGES, "tests"}

# Which package may import which of ours. The contract stands alone; everything else meets only there.
ARROWS = {
    "edge_runtime/wire": {"edge_runtime.wire"},
    "edge_runtime": {"edge_runtime"},
    "export": {"export", "edge_runtime.wire"},
    # A site is a device of the gateway above it, and speaks with it as any device does (decision 0058).
    "broker_server/upstream": {
        "broker_server",
        "edge_runtime.wire",
        "edge_runtime.federation",
        "edge_runtime.store",
        "edge_runtime.training.budget",
    },
    "broker_server": {"broker_server", "edge_runtime.wire"},
    "benchmarks": {"benchmarks", "export", "edge_runtime", "broker_server"},
    "docs": {"docs", "export", "edge_runtime.wire", "broker_server"},
}

# The rooms of each package, from the top down: a room knows those below it and itself. "" is what stands in the
# package's own folder and is named nowhere else here; the contract is below everything.
ROOMS = {
    "export": (
        "build",
        "__init__+interface",
        "report",
        "packaging",
        "proving",
        "compiling",
        "planning",
        "model",
        "source",
        "",
    ),
    "edge_runtime": (
        "__main__",
        "commands",
        "__init__+interface",
        "opened_package",
        "federation",
        "training",
        "inference",
        "data",
        "program",
        "native",
        "built_in",
        "",
        "wire",
    ),
    "broker_server": (
        "__main__",
        "commands+cli",
        "__init__+gateway",
        "web",
        "display+logs+systemd+service",
        "views",
        "upstream",
        "rounds",
        "evaluation",
        "engine",
        "state",
        "rules",
        "broker+identity",
        "",
    ),
}

# Which file may import a heavy library: one driver in each package that needs it. A name that ends in "/" is a folder,
# "?" in front means only inside a function: the module can be imported without the library.
DRIVERS = {
    "torch": {"export/", "benchmarks/", "?edge_runtime/program/drivers.py"},
    "executorch": {
        "export/compiling/lowering.py",
        "export/compiling/linking.py",
        "benchmarks/train_step/documented.py",
        "?export/proving/measure.py",
        "?edge_runtime/program/drivers.py",
    },
    "transformers": {
        "export/source/backbone.py",
        "?export/model/graft.py",
        "?export/proving/stock_texts.py",
        "benchmarks/",
    },
    "optimum": {"export/source/families.py"},
    "networkx": {"export/compiling/recompute.py"},
    "peft": {"?benchmarks/real_text/rivals.py", "?benchmarks/usual_tools/lora_arm.py"},
    "sklearn": {"?benchmarks/usual_tools/logistic_arm.py"},
    "huggingface_hub": {"?export/source/backbone.py"},
    "onnx": {"export/proving/onnx_program.py", "export/proving/onnx_blocks.py"},
    "onnxruntime": {
        "?export/proving/onnx_program.py",
        "?benchmarks/train_step/",
        "broker_server/evaluation/onnx_model.py",
    },
    "paho": {
        "edge_runtime/federation/mqtt/",
        "broker_server/broker/mqtt.py",
        "benchmarks/attacks/strangers.py",
    },
    "websockets": {"broker_server/broker/websocket.py"},
    "tokenizers": {
        "edge_runtime/data/tokenizer.py",
        "?export/proving/stock_texts.py",
        "?export/source/token_counts.py",
        "broker_server/evaluation/onnx_model.py",
    },
    "safetensors": {"edge_runtime/wire/bank.py", "edge_runtime/store.py", "export/proving/measure.py"},
    "google": {"edge_runtime/wire/"},
    "matplotlib": {"benchmarks/"},
    "segno": {"broker_server/identity/qr.py"},
    "starlette": {"broker_server/web/"},
    "uvicorn": {"broker_server/web/connections.py"},
    "jinja2": {"broker_server/web/rendering.py"},
    "markupsafe": {"broker_server/web/rendering.py"},
    "prometheus_client": {"broker_server/web/metrics.py"},
    "playwright": {"benchmarks/demo/pictures.py"},
    "dp_accounting": {"?broker_server/accounting.py"},
    "ray": {"?broker_server/engine/ray_engine.py"},
    "sqlite3": {"broker_server/state/database.py", "benchmarks/fleet/kept.py"},
    "cryptography": {"edge_runtime/wire/", "broker_server/identity/certificates.py"},
}
LIGHT = {"numpy", "rich"}

# Decisions take values and return values: nothing of these may be imported by them.
PURE = (
    "edge_runtime/federation/session.py",
    "edge_runtime/training/heterogeneity.py",
    "edge_runtime/program/slots.py",
    "edge_runtime/training/carry.py",
    "edge_runtime/training/tiers.py",
    "broker_server/rounds/offers.py",
    "broker_server/rules/admission.py",
    "broker_server/rules/aggregate.py",
    "broker_server/rules/agreement.py",
    "broker_server/rules/balance.py",
    "broker_server/rules/norm_cuts.py",
    "broker_server/rules/planner.py",
    "broker_server/rules/privacy.py",
    "broker_server/rules/robust.py",
    "broker_server/rules/round.py",
    "broker_server/rules/server_optimizer.py",
    "broker_server/broker/access.py",
    "broker_server/broker/connect_packet.py",
    "broker_server/broker/fields.py",
    "broker_server/broker/framing.py",
    "broker_server/broker/packets.py",
    "broker_server/broker/subscriptions.py",
)
IMPURE = {
    "asyncio",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "subprocess",
    "threading",
    "time",
}


@dataclass(frozen=True)
class Import:
    """One import. Args: file: from the root; name: dotted, as far as known; lazy: inside a function."""

    file: str
    line: int
    name: str
    lazy: bool

    @property
    def library(self) -> str:
        """Return the first word of the name."""
        return self.name.partition(".")[0]

    def __str__(self) -> str:
        """Return it as an editor finds it."""
        return f"{self.file}:{self.line} imports {self.name}"


def imports_of(path: Path, source: str | None = None) -> Iterator[Import]:
    """Yield every import of a file, ``importlib.import_module("x")`` included."""
    file = path.relative_to(ROOT).as_posix()
    tree = _parsed(path.read_text() if source is None else source)
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        for name in _names(node, file):
            yield Import(file, node.lineno, name, id(node) in lazy)  # type: ignore[attr-defined]


def _parsed(source: str) -> ast.Module:
    """Parse, with nothing in between: a finalizer that formats a traceback parses as well, which Python 3.11 forbids.

    It ended as "SystemError: AST constructor recursion depth mismatch", in runs after tests of brokers.
    """
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        gc.enable()


def _names(node: ast.AST, file: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        package = file.split("/")[: -node.level] if node.level else []
        module = ".".join([*package, *([node.module] if node.module else [])])
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "importlib.import_module",
        "import_module",
        "__import__",
    ):
        return [ast.literal_eval(arg) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
IMPORTS = [item for path in FILES for item in imports_of(path)]


def _within(name: str, allowed: set[str]) -> bool:
    return any(name == item or name.startswith(item + ".") for item in allowed)


def _rule_of(file: str) -> set[str]:
    return next(allowed for folder, allowed in ARROWS.items() if file.startswith(folder + "/"))


def forbidden_arrows(imports: list[Import]) -> list[str]:
    """Return the imports that point a way that no arrow allows."""
    ours = [item for item in imports if item.library in FIRST_PARTY]
    return [str(item) for item in ours if not _within(item.name, _rule_of(item.file))]


def _floor_of(name: str) -> int | None:
    """Return how deep a module of ours stands in its package, 0 at the top; None outside of ``ROOMS``."""
    package, _, inside = name.partition(".")
    if package not in ROOMS or not inside:
        return None
    room, rooms = inside.partition(".")[0], ROOMS[package]
    named = next((floor for floor, names in enumerate(rooms) if room in names.split("+")), None)
    return rooms.index("") if named is None else named


def climbing_arrows(imports: list[Import]) -> list[str]:
    """Return the imports that point from a room to one above it in the same package."""
    wrong = []
    for item in imports:
        here, there = _floor_of(item.file.removesuffix(".py").replace("/", ".")), _floor_of(item.name)
        if here is not None and there is not None and item.file.split("/")[0] == item.library and there < here:
            wrong.append(str(item))
    return wrong


def forbidden_weight(imports: list[Import]) -> list[str]:
    """Return the imports of heavy libraries outside of their driver files."""
    wrong = []
    for item in imports:
        allowed = DRIVERS.get(item.library, set())
        names = [name.removeprefix("?") for name in allowed if item.lazy or not name.startswith("?")]
        fits = any(item.file == name or (name.endswith("/") and item.file.startswith(name)) for name in names)
        if item.library in DRIVERS and not fits:
            wrong.append(str(item))
    return wrong


def test_imports_point_one_way() -> None:
    """Export and broker_server know the contract and not each other; the contract knows nobody."""
    assert forbidden_arrows(IMPORTS) == []


def test_imports_point_downward_between_rooms() -> None:
    """A room is read with what is below it in mind, and nothing above."""
    assert climbing_arrows(IMPORTS) == []


def test_every_room_is_a_folder_or_file_and_every_folder_a_room() -> None:
    """A new folder gets its place in the order; one that went leaves none behind."""
    for package, rooms in ROOMS.items():
        named = {name for floor in rooms for name in floor.split("+") if name}
        for name in named:
            assert (ROOT / package / name).is_dir() or (ROOT / package / f"{name}.py").is_file(), f"{package}/{name}"
        folders = {path.parent.relative_to(ROOT / package).parts[0] for path in (ROOT / package).glob("*/*.py")}
        assert folders - named == set()


def test_heavy_libraries_have_one_driver_each() -> None:
    """A library is replaced by changing one file, and loaded by those that asked for it."""
    assert forbidden_weight(IMPORTS) == []


def test_every_library_is_known_here() -> None:
    """A new dependency is a decision: it gets a line in this table."""
    known = {*sys.stdlib_module_names, *FIRST_PARTY, *DRIVERS, *LIGHT}
    assert [str(item) for item in IMPORTS if item.library not in known] == []


def test_the_table_names_real_files() -> None:
    """A driver that was renamed or removed leaves no permission behind."""
    used = {(item.library, item.file) for item in IMPORTS}
    for library, names in DRIVERS.items():
        for name in names:
            place = name.removeprefix("?")
            assert any(lib == library and file.startswith(place) for lib, file in used), f"{library}: {name}"


def test_the_contract_imports_little() -> None:
    """Standard library, numpy, protobuf, safetensors, cryptography: what every machine of ours has."""
    allowed = {*sys.stdlib_module_names, "numpy", "google", "safetensors", "cryptography", "edge_runtime"}
    wire = [item for item in IMPORTS if item.file.startswith("edge_runtime/wire/")]
    assert len(wire) > 50
    assert [str(item) for item in wire if item.library not in allowed] == []
    assert [
        str(item) for item in wire if item.library == "google" and not item.name.startswith("google.protobuf")
    ] == []


def test_scripts_beside_the_packages_import_what_is_there() -> None:
    """Kotlin's tests run Python's; a module that was moved is noticed here, not by Kotlin."""
    scripts = sorted((ROOT / "android_demo").rglob("src/test/python/*.py"))
    imports = [item for path in scripts for item in imports_of(path) if item.library in PACKAGES]
    assert len(imports) > 20
    assert [str(item) for item in imports if not _resolves(item.name)] == []


def _resolves(name: str) -> bool:
    """Tell whether a dotted name is a module or a module's attribute."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def test_vectors_are_not_part_of_the_product() -> None:
    """Only the vectors' own files import them."""
    outside = [item for item in IMPORTS if not item.file.startswith("edge_runtime/wire/vectors/")]
    assert [str(item) for item in outside if item.name.startswith("edge_runtime.wire.vectors")] == []


def test_decisions_do_no_io() -> None:
    """No socket, clock, file, thread or hidden randomness where a decision is made."""
    assert [str(item) for item in IMPORTS if item.file in PURE and item.library in IMPURE] == []
    assert [name for name in PURE if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("module", ["broker_server.__main__", "edge_runtime.__main__"])
def test_commands_start_light(module: str) -> None:
    """Neither the gateway nor a device loads torch, ExecuTorch's Python or transformers to start."""
    heavy = {"torch", "executorch", "transformers", "onnx", "matplotlib", "export"}
    heavy |= {"rich"} if module.startswith("edge_runtime") else set()  # no part of what a board installs
    code = f"import {module}, sys; sys.exit(', '.join(sorted({heavy!r} & set(sys.modules))) or 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("package", ["edge_runtime", "export", "broker_server"])
def test_a_package_is_imported_without_weight(package: str) -> None:
    """Beside the standard library nothing but the package's own first file; a public name is loaded when asked for."""
    code = f"""
import sys
before = set(sys.modules)
import {package} as package
loaded = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
assert loaded == {{"{package}"}} and not any(name.startswith("{package}.") for name in sys.modules), sorted(loaded)
missing = [name for name in package.__all__ if getattr(package, name).__name__ != name]
assert not missing, missing
try:
    package.nothing
except AttributeError as error:
    assert str(error) == "module '{package}' has no attribute 'nothing'", error
heavy = {{"torch", "executorch", "transformers", "onnx", "matplotlib"}} & set(sys.modules)
assert not heavy, sorted(heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("export/a.py", "from edge_runtime.store import Store"),
        ("export/a.py", "import broker_server.rules.round"),
        ("export/a.py", "from edge_runtime import store"),
        ("broker_server/a.py", "def f():\n    from export import lowering"),
        ("broker_server/a.py", "import tests.conftest"),
        ("edge_runtime/a.py", "import importlib\nimportlib.import_module('broker_server')"),
        ("edge_runtime/wire/a.py", "from .. import store"),
        ("edge_runtime/wire/a.py", "import edge_runtime.program.slots"),
    ],
)
def test_a_wrong_arrow_is_found(file: str, source: str) -> None:
    """The test can fail: each way of writing an import is seen."""
    assert len(forbidden_arrows(list(imports_of(ROOT / file, source)))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("edge_runtime/data/a.py", "from edge_runtime.training.trainer import Trainer"),
        ("edge_runtime/store.py", "def f():\n    from edge_runtime.data import windows"),
        ("edge_runtime/wire/a.py", "from edge_runtime import errors"),
        ("edge_runtime/training/a.py", "from edge_runtime import opened_package"),
        ("broker_server/rules/a.py", "from broker_server.state.store import Store"),
        ("broker_server/config.py", "import broker_server.rules.round"),
        ("broker_server/service.py", "from broker_server.cli import main"),
    ],
)
def test_a_climbing_arrow_is_found(file: str, source: str) -> None:
    """The test can fail: from a room to one above, and from a package's own folder into a room."""
    assert len(climbing_arrows(list(imports_of(ROOT / file, source)))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("edge_runtime/federation/session.py", "import torch"),
        ("edge_runtime/program/drivers.py", "import torch"),  # lazily only
        ("broker_server/rules/round.py", "def f():\n    import paho.mqtt.client"),
        ("export/planning/cost_model.py", "from executorch.exir import to_edge"),
        ("broker_server/state/ledger.py", "from google.protobuf import message"),
    ],
)
def test_a_heavy_import_is_found(file: str, source: str) -> None:
    """The same for libraries, at the top and inside functions."""
    assert len(forbidden_weight(list(imports_of(ROOT / file, source)))) == 1


def test_what_is_allowed_is_not_found() -> None:
    """Relative imports of the own package, lazy imports where they are allowed, the contract from everywhere."""
    fine = {
        "edge_runtime/wire/a.py": "from . import digests\nfrom .experts import HEAD",
        "edge_runtime/program/drivers.py": "def f():\n    import torch",
        "export/a.py": "from edge_runtime import wire\nfrom edge_runtime.wire import digests\nimport torch",
    }
    for file, source in fine.items():
        imports = list(imports_of(ROOT / file, source))
        assert forbidden_arrows(imports) + forbidden_weight(imports) == []
