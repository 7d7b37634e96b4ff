"""Programs through both drivers: results, refusals, damage, threads. The programs are in little_programs.py."""

from __future__ import annotations

import math
import mmap
import os
import random
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lowered import lowered

from edge_runtime.errors import ConfigError, ProgramError
from edge_runtime.native import build, sdk
from edge_runtime.program import drivers
from edge_runtime.program.drivers import inspect
from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.program.program import Program
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[3]
SCORE = MethodSpec(
    (TensorSpec("x", "float32", (3, 8)), TensorSpec("k", "int64", (5,))),
    (
        TensorSpec("score", "float32", (3, 4)),
        TensorSpec("k", "int64", (5,)),
        TensorSpec("next", "int64", (5,)),
    ),
)
STEP = MethodSpec(
    (TensorSpec("w", "float32", (4, 6)), TensorSpec("g", "float32", (4, 6))),
    (TensorSpec("loss", "float32", (1,)), TensorSpec("w", "float32", (4, 6))),
)
METHODS = {"score": SCORE, "step": STEP}
X = (np.arange(24, dtype=np.float32).reshape(3, 8) - 12) / 8
K = np.array([5, -1, 2**40, 0, 7])
W = np.arange(24, dtype=np.float32).reshape(4, 6)


def expected_score(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Compute gelu(x W^T + b) in float64, from the definition of the weights."""
    weight = np.arange(32.0).reshape(4, 8) / 32 - 0.5
    z = x.astype(np.float64) @ weight.T + np.arange(4.0) / 4
    return z * 0.5 * (1 + np.vectorize(math.erf)(z / math.sqrt(2)))


def start(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh interpreter that sees this checkout."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def folder(run_folder: Path) -> Path:
    """Return the little programs."""
    pytest.importorskip("executorch")
    pytest.importorskip("torch")
    return lowered(run_folder)


@pytest.fixture(params=["planned", "direct"])
def program(request: pytest.FixtureRequest, folder: Path) -> Iterator[Program]:
    """Open a program whose inputs and outputs are planned, then one where they are the caller's buffers."""
    with Program.open(folder / f"{request.param}.pte", METHODS, driver="native") as opened:
        yield opened


def test_methods_compute_what_their_definition_says(program: Program) -> None:
    """A GEMM, a passed-through input and a portable kernel give the hand-written result, again and again."""
    for scale in (1.0, -0.25):
        out = program.execute("score", {"x": X * np.float32(scale), "k": K})
        np.testing.assert_allclose(out["score"], expected_score(X * scale), rtol=1e-5, atol=1e-6)
        assert out["k"].tolist() == K.tolist()
        assert out["next"].tolist() == (K + 1).tolist()
    out = program.execute("step", (W, np.full_like(W, 2)))
    assert out["w"].tolist() == (W - 1).tolist()
    assert out["loss"].tolist() == [sum((i - 1.0) ** 2 for i in range(24))]


def test_outputs_feed_the_next_call(program: Program) -> None:
    """Two sets of arrays, swapped each call, carry a state through many steps without a copy."""
    g = np.ones_like(W)
    state, spare = W.copy(), np.empty_like(W)
    for _ in range(10):
        out = program.execute("step", {"w": state, "g": g}, out={"w": spare})
        assert out["w"] is spare
        state, spare = spare, state
    assert state.tolist() == (W - 5).tolist()


def test_results_stay_when_the_next_call_runs(program: Program) -> None:
    """What a call returned is the caller's: another call with other inputs leaves it alone."""
    first = program.execute("score", {"x": X, "k": K})
    kept = {name: array.copy() for name, array in first.items()}
    program.execute("score", {"x": -X, "k": -K})
    program.execute("step", {"w": W, "g": W})
    for name, array in first.items():
        assert array.tobytes() == kept[name].tobytes()


def test_an_array_with_strides_is_read_in_its_own_order(program: Program) -> None:
    """A transposed view gives the same result as its contiguous copy."""
    tall = np.ascontiguousarray(X.T)
    out = program.execute("score", {"x": tall.T, "k": np.repeat(K, 2)[::2]})
    np.testing.assert_allclose(out["score"], expected_score(X), rtol=1e-5, atol=1e-6)
    assert out["k"].tolist() == K.tolist()


def test_an_input_that_ends_where_its_page_ends_is_safe(folder: Path) -> None:
    """Vector kernels read past a tensor; a tensor before an unreadable page is padded first."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    x = np.frombuffer(memory, np.float32, 24, mmap.PAGESIZE - 24 * 4).reshape(3, 8)
    x[:] = X
    with Program.open(folder / "direct.pte", METHODS, driver="native") as program:
        out = program.execute("score", {"x": x, "k": K})
    np.testing.assert_allclose(out["score"], expected_score(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"x": X}, "missing inputs ['k'], unknown inputs []; expected x, k"),
        ({"x": X, "k": K, "y": K}, "unknown inputs ['y']"),
        ((X,), "got 1 inputs, expected 2: x, k"),
        ({"x": X.astype(np.float64), "k": K}, "input x: got float64, expected float32"),
        ({"x": X, "k": K.astype(np.int32)}, "input k: got int32, expected int64"),
        ({"x": X[:2], "k": K}, "input x: got shape [2, 8], expected [3, 8]"),
        ({"x": X.reshape(24), "k": K}, "input x: got shape [24], expected [3, 8]"),
        ({"x": X, "k": [1, 2, 3, 4, 5]}, "input k: got list, expected a numpy array"),
    ],
)
def test_wrong_inputs_are_refused_by_name(program: Program, inputs: Any, words: str) -> None:
    """The message names the method and the tensor, what came and what was expected."""
    with pytest.raises(ProgramError, match="method score") as caught:
        program.execute("score", inputs)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("w", np.empty((4, 6), np.float64), "output w: got float64, expected float32"),
        ("w", np.empty((6, 4), np.float32), "output w: got shape [6, 4], expected [4, 6]"),
        ("w", np.empty((6, 4), np.float32).T, "must be contiguous and writable"),
        ("w", np.frombuffer(bytes(96), np.float32).reshape(4, 6), "must be contiguous and writable"),
        ("q", np.empty((4, 6), np.float32), "has no output q; it has loss, w"),
        ("w", W, "overlaps input 0"),
    ],
)
def test_wrong_output_arrays_are_refused(program: Program, name: str, array: Any, words: str) -> None:
    """A result goes nowhere rather than to a place that does not fit or that the method still reads."""
    with pytest.raises(ProgramError) as caught:
        program.execute("step", {"w": W, "g": W.copy()}, out={name: array})
    assert words in str(caught.value)


def test_an_unknown_method_is_refused_with_the_known(program: Program) -> None:
    """Every call that takes a method's name answers alike."""
    for call in (program.spec, program.load, program.unload, lambda name: program.execute(name, ())):
        with pytest.raises(ProgramError, match="has no method train; it has score, step"):
            call("train")


def test_a_closed_program_refuses_and_may_be_closed_again(folder: Path) -> None:
    """After close every call says so."""
    program = Program.open(folder / "planned.pte", METHODS, driver="native")
    program.close()
    program.close()
    with pytest.raises(ProgramError, match="is closed; open it again"):
        program.execute("step", (W, W))
    with pytest.raises(ProgramError, match="is closed"):
        program.load("step")


def test_without_a_manifest_tensors_are_named_by_position(folder: Path) -> None:
    """The file alone gives dtypes and shapes, not names."""
    with Program.open(folder / "planned.pte", driver="native", mmap=False) as program:
        assert program.methods == ("score", "step")
        spec = program.spec("step")
        assert [tensor.name for tensor in (*spec.inputs, *spec.outputs)] == [
            "input_0",
            "input_1",
            "output_0",
            "output_1",
        ]
        assert [tensor.shape for tensor in spec.outputs] == [(1,), (4, 6)]
        assert program.execute("step", (W, W))["output_1"].tolist() == (W / 2).tolist()


@pytest.mark.parametrize("driver", ["native", "python"])
@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"train": STEP}, "no method train although the manifest names it; it has score, step"),
        ({"step": replace(STEP, inputs=STEP.inputs[:1])}, "the file has 2 inputs, the manifest names 1"),
        ({"step": replace(STEP, outputs=STEP.outputs * 2)}, "two outputs have one name: loss, w, loss, w"),
        (
            {"step": replace(STEP, inputs=(STEP.inputs[0], TensorSpec("g", "float32", (6, 4))))},
            "input g: the file has float32 [4, 6], the manifest says float32 [6, 4]",
        ),
        (
            {"step": replace(STEP, outputs=(TensorSpec("loss", "int64", (1,)), STEP.outputs[1]))},
            "output loss: the file has float32 [1], the manifest says int64 [1]",
        ),
    ],
)
def test_a_program_that_is_not_what_the_manifest_says_is_refused(
    folder: Path, driver: str, methods: dict[str, MethodSpec], words: str
) -> None:
    """A package whose parts do not fit is noticed when it is opened, not in the middle of a round."""
    with pytest.raises(ProgramError) as caught:
        Program.open(folder / "planned.pte", methods, driver=driver)
    assert words in str(caught.value)


@pytest.mark.parametrize("driver", ["native", "python"])
def test_files_that_are_no_programs_are_refused(folder: Path, tmp_path: Path, driver: str) -> None:
    """Missing, a folder, empty, short, text, cut anywhere: an error each, in one line that names the file."""
    whole = (folder / "planned.pte").read_bytes()
    contents = {"empty": b"", "short": b"ET12" * 4, "text": b"not a program " * 40, "head": whole[:64]}
    chance = random.Random(3)
    for cut in (len(whole) - 1, *(chance.randrange(65, len(whole)) for _ in range(40))):
        contents[f"cut{cut}"] = whole[:cut]
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    for name in ("missing", ".", *contents):
        with pytest.raises(ProgramError) as caught:
            Program.open(tmp_path / name, driver=driver)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


DAMAGE = """
import random, sys
from pathlib import Path
from edge_runtime.native import build
from edge_runtime.native.binding import Library, NativeError, NativeProgram
library, whole, place = Library(build.ensure()), Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
refused = 0
for seed in range(1500):
    chance, data = random.Random(seed), bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(len(data) - 4)
        data[at:at + 4] = chance.choice([b"\\xff" * 4, bytes(4), b"\\xff\\xff\\xff\\x7f", chance.randbytes(4)])
    place.write_bytes(data)
    try:
        program = NativeProgram(library, place)
        for method in program.methods:
            program.spec(method), program.backends(method), program.planned_bytes(method)
        program.close()
    except NativeError as error:
        assert error.status and "\\n" not in str(error), error
        refused += 1
print(refused)
"""


def test_damaged_files_are_opened_or_refused_never_followed(folder: Path, tmp_path: Path) -> None:
    """1,500 altered files: the process that opens and describes them lives on, and refuses many."""
    done = start(DAMAGE, folder / "planned.pte", tmp_path / "altered.pte")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 300


def test_a_fatal_check_inside_executorch_is_an_error_here(folder: Path) -> None:
    """What would end the process becomes an error; the program's other method goes on."""
    with Program.open(folder / "fatal.pte", METHODS, driver="native") as program:
        for _ in range(2):
            with pytest.raises(ProgramError, match=r"method score stopped at a fatal check \(.*not a Tensor"):
                program.execute("score", {"x": X, "k": K})
        assert program.execute("step", (W, W))["w"].tolist() == (W / 2).tolist()


def test_a_missing_kernel_is_named(folder: Path) -> None:
    """A program that needs what this runtime lacks is refused when the method is loaded."""
    with (
        Program.open(folder / "kernel.pte", METHODS, driver="native") as program,
        pytest.raises(ProgramError, match=r"method score cannot be loaded.*aten::no_such_kernel"),
    ):
        program.load("score")


def test_memory_that_nobody_has_and_names_given_twice_are_refused(folder: Path) -> None:
    """An arena of 2^60 bytes fails where it is reserved; two methods of one name fail where they are read."""
    with (
        Program.open(folder / "huge.pte", METHODS, driver="native") as program,
        pytest.raises(ProgramError, match="cannot reserve an arena of 1152921504606846976 bytes"),
    ):
        program.load("score")
    with pytest.raises(ProgramError, match="method 1 has no name of its own"):
        Program.open(folder / "twins.pte", driver="native")


def test_methods_that_this_interface_cannot_carry_are_refused(folder: Path) -> None:
    """A number as an input and another order of axes are told apart from mistakes of the caller."""
    with Program.open(folder / "odd.pte", driver="native") as program:
        with pytest.raises(ProgramError, match="input 1 is not a tensor"):
            program.execute("whole", (np.ones(2, np.float32), np.array(3, np.uint8)))
        with pytest.raises(ProgramError, match="is not row-major"):
            program.execute("wide", (np.ones((1, 2, 3, 4), np.float32),))


def test_a_type_that_numpy_lacks_is_refused(folder: Path) -> None:
    """A type of a file that no array can have; a made-up one, since ml_dtypes teaches numpy all the real ones."""
    with Program.open(folder / "planned.pte", driver="native") as program:
        program._methods["step"] = replace(STEP, outputs=(TensorSpec("loss", "posit16", (1,)), STEP.outputs[1]))
        with pytest.raises(ProgramError, match="loss is posit16, which numpy does not have"):
            program.execute("step", (W, W))


def test_unloading_and_loading_change_nothing_but_memory(program: Program) -> None:
    """A method computes the same after it was unloaded, and unloading twice is no error."""
    before = program.execute("score", {"x": X, "k": K})["score"]
    native = program._opened
    assert native.loaded("score")
    program.unload("score")
    program.unload("score")
    assert not native.loaded("score")
    program.load("score")
    assert native.loaded("score")
    assert program.execute("score", {"x": X, "k": K})["score"].tobytes() == before.tobytes()


def test_threads_can_be_set_while_programs_are_open(folder: Path) -> None:
    """The pool is replaced under loaded methods, which load again and compute the same."""
    with Program.open(folder / "planned.pte", METHODS, driver="native", threads=2) as program:
        before = program.execute("score", {"x": X, "k": K})["score"]
        assert inspect("native").threads == 2
        with Program.open(folder / "direct.pte", METHODS, driver="native", threads=1) as other:
            assert inspect("native").threads == 1
            assert other.execute("score", {"x": X, "k": K})["score"].tobytes() == before.tobytes()
            assert program.execute("score", {"x": X, "k": K})["score"].tobytes() == before.tobytes()


@pytest.mark.parametrize(("threads", "error"), [(0, ConfigError), (-1, ConfigError), (100_000, ProgramError)])
def test_impossible_numbers_of_threads_are_refused(folder: Path, threads: int, error: type[Exception]) -> None:
    """Neither zero nor a hundred thousand threads."""
    with pytest.raises(error, match="threads, expected"):
        Program.open(folder / "planned.pte", METHODS, driver="native", threads=threads)


def test_many_threads_of_the_caller_take_turns(program: Program) -> None:
    """Four callers of one program each get the results of their own inputs."""
    wrong: list[float] = []

    def work(value: float) -> None:
        g = np.full_like(W, value)
        for _ in range(200):
            out = program.execute("step", {"w": W, "g": g})
            if not np.array_equal(out["w"], W - np.float32(0.5 * value)):
                wrong.append(value)

    callers = [threading.Thread(target=work, args=(float(value),)) for value in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


def test_closing_under_a_working_thread_ends_its_work_with_an_error(folder: Path) -> None:
    """The other thread finishes its call, and the next one says that the program is closed."""
    program = Program.open(folder / "planned.pte", METHODS, driver="native")
    program.execute("step", (W, W))
    errors: list[ProgramError] = []
    running = threading.Event()

    def work() -> None:
        try:
            while True:
                program.execute("step", (W, W))
                running.set()
        except ProgramError as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    running.wait()
    program.close()
    worker.join()
    assert "open" in str(errors[0])


FORK = """
import os, sys
import numpy as np
from pathlib import Path
from edge_runtime.program.program import Program
w = np.ones((4, 6), np.float32)
with Program.open(Path(sys.argv[1]), driver="native", threads=2) as program:
    program.execute("step", (w, w))
    child = os.fork()
    got = program.execute("step", (w, w))["output_1"]
    if child == 0:
        os._exit(0 if (got == 0.5).all() else 3)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bool((got == 0.5).all()))
    print("torch" in sys.modules)
"""


def test_a_forked_child_may_go_on_and_no_torch_is_loaded(folder: Path) -> None:
    """The child loads its methods anew instead of waiting for threads that only its parent has."""
    done = start(FORK, folder / "planned.pte")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "True", "False"]


def test_the_fallback_computes_the_same(folder: Path) -> None:
    """executorch.runtime and our library agree bit for bit, and its own refusals come as ours do."""
    inputs = {"x": X, "k": K}
    with (
        Program.open(folder / "planned.pte", METHODS, driver="python", threads=1) as other,
        Program.open(folder / "planned.pte", METHODS, driver="native") as ours,
    ):
        other.load("score")
        one, two = other.execute("score", inputs), ours.execute("score", inputs)
        assert {name: array.tobytes() for name, array in one.items()} == {n: a.tobytes() for n, a in two.items()}
        frozen = X.copy()
        frozen.flags.writeable = False
        other.unload("score")
        assert other.execute("score", {"x": frozen, "k": K})["score"].tobytes() == one["score"].tobytes()
    about = inspect("python")
    assert (about.driver, about.library, about.threads, about.has_xnnpack) == ("python", None, 1, True)
    with (
        Program.open(folder / "kernel.pte", METHODS, driver="python") as program,
        pytest.raises(ProgramError, match="method score cannot be loaded"),
    ):
        program.execute("score", inputs)


def test_doctor_can_say_what_runs_programs() -> None:
    """The native driver names its library, version, delegates and kernels."""
    about = inspect("native")
    assert about.driver == "native"
    assert about.notice == ""
    assert about.library is not None
    assert about.library.name == build.LIBRARY
    assert about.executorch.split("+")[0] == sdk.installed_version()
    assert about.origin == "compiled over the installed executorch"
    assert about.has_xnnpack
    assert about.kernels > 100
    assert about.threads >= 1


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Let a test choose drivers anew, and the tests after it too."""
    caches = (drivers._automatic, drivers._native)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def no_compiler(**_: object) -> Path:
    """Stand where no driver can be built."""
    raise sdk.NativeBuildError("a C++17 compiler is needed")


@pytest.mark.usefixtures("forgetful")
def test_without_a_compiler_the_fallback_runs_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line tells which driver is used instead and why; it is said once."""
    monkeypatch.delenv(drivers.DRIVER_VARIABLE, raising=False)
    monkeypatch.setattr(build, "ensure", no_compiler)
    for _ in range(2):
        with Program.open(folder / "planned.pte", METHODS) as program:
            assert program.execute("step", (W, W))["w"].tolist() == (W / 2).tolist()
    said = [line for line in capfd.readouterr().err.splitlines() if "notice" in line]
    assert len(said) == 1
    assert said[0].startswith("notice: using executorch.runtime, which loads torch and needs far more memory, because")
    assert said[0].endswith("a C++17 compiler is needed")
    assert inspect().notice in said[0]


@pytest.mark.usefixtures("forgetful")
def test_with_no_driver_at_all_both_reasons_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a compiler nor torch: one error with both."""
    monkeypatch.delenv(drivers.DRIVER_VARIABLE, raising=False)
    monkeypatch.setattr(build, "ensure", no_compiler)
    monkeypatch.setitem(sys.modules, "torch", None)
    drivers._python.cache_clear()
    with pytest.raises(ProgramError, match=r"no way to execute programs: a C\+\+17.*; and executorch.runtime cannot"):
        inspect()
    drivers._python.cache_clear()


@pytest.mark.usefixtures("forgetful")
def test_the_driver_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over the variable, the variable over the default; other names are refused."""
    monkeypatch.setenv(drivers.DRIVER_VARIABLE, "python")
    assert inspect().driver == "python"
    assert inspect("native").driver == "native"
    monkeypatch.delenv(drivers.DRIVER_VARIABLE)
    assert inspect().driver == "native"
    monkeypatch.setenv(drivers.DRIVER_VARIABLE, "jni")
    with pytest.raises(ConfigError, match="got driver 'jni', expected one of native, python"):
        inspect()


def test_peak_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure covers what was touched, with and without /proc."""
    block = np.ones(40 * 2**20, np.uint8)
    assert peak_rss_mib() > block.nbytes / 2**20

    def unreadable(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", unreadable)
    assert peak_rss_mib() > 40
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_rss_mib() == 0


def test_peak_memory_is_not_the_parents() -> None:
    """A small process that a large one started reports its own figure."""
    block = np.ones(200 * 2**20, np.uint8)
    done = start("from edge_runtime.program.memory import peak_rss_mib; print(peak_rss_mib())")
    assert 1 < float(done.stdout) < block.nbytes / 2**20
