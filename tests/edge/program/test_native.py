"""The native driver's C interface as another language sees it, and its build."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from lowered import lowered

from edge_runtime.native import binding, build, sdk
from edge_runtime.native.binding import Buffer, Library, MethodInfo, NativeError, NativeProgram, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_ARGUMENT, BAD_HANDLE, NOT_FOUND, WRONG_COUNT, WRONG_DTYPE, WRONG_SHAPE = 1, 2, 3, 5, 6, 7
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def library() -> Library:
    """Build, once, and load."""
    pytest.importorskip("executorch")
    return Library(build.ensure())


@pytest.fixture(scope="module")
def path(run_folder: Path) -> Path:
    """Return the little program with planned inputs and outputs."""
    pytest.importorskip("torch")
    return lowered(run_folder) / "planned.pte"


@pytest.fixture
def handle(library: Library, path: Path) -> Iterator[ctypes.c_int64]:
    """Open a program through the C interface."""
    opened = ctypes.c_int64()
    library.call("fl_open", os.fsencode(path), 0, ctypes.byref(opened))
    yield opened
    library.call("fl_close", opened)


def refusal(library: Library, name: str, *arguments: Any) -> tuple[int, str]:
    """Return the status and the words of a call that must fail."""
    with pytest.raises(NativeError) as caught:
        library.call(name, *arguments)
    return caught.value.status, str(caught.value)


class Call:
    """Arguments of fl_execute for ``step``, one of them to be spoiled."""

    def __init__(self) -> None:
        self.inputs = [np.arange(24, dtype=np.float32).reshape(4, 6), np.ones((4, 6), np.float32)]
        self.outputs = [np.empty(1, np.float32), np.empty((4, 6), np.float32)]
        self.taken = (Buffer * 2)(*map(binding._buffer, self.inputs))
        self.given = (Buffer * 2)(*map(binding._buffer, self.outputs))

    def arguments(self, handle: ctypes.c_int64) -> tuple[Any, ...]:
        """Return what the C function takes."""
        return handle, b"step", self.taken, 2, self.given, 2


def test_null_pointers_are_refused_by_name(library: Library, handle: ctypes.c_int64) -> None:
    """Every pointer that a caller may forget has an answer that says which."""
    call, info, tensor = Call(), MethodInfo(), TensorInfo()
    needed = ctypes.c_uint64()
    cases = [
        ("path", "fl_open", None, 0, ctypes.byref(ctypes.c_int64())),
        ("handle", "fl_open", b"x.pte", 0, None),
        ("count", "fl_threads", None),
        ("needed", "fl_backends", None, 0, None),
        ("text", "fl_kernels", None, 10, ctypes.byref(needed)),
        ("needed", "fl_methods", handle, None, 0, None),
        ("method", "fl_method", handle, None, ctypes.byref(info)),
        ("info", "fl_method", handle, b"step", None),
        ("method", "fl_method_backends", handle, None, None, 0, ctypes.byref(needed)),
        ("method", "fl_input", handle, None, 0, ctypes.byref(tensor)),
        ("info", "fl_input", handle, b"step", 0, None),
        ("method", "fl_output", handle, None, 0, ctypes.byref(tensor)),
        ("info", "fl_output", handle, b"step", 0, None),
        ("method", "fl_load", handle, None),
        ("method", "fl_unload", handle, None),
        ("method", "fl_execute", handle, None, call.taken, 2, call.given, 2),
        ("inputs", "fl_execute", handle, b"step", None, 2, call.given, 2),
        ("outputs", "fl_execute", handle, b"step", call.taken, 2, None, 2),
    ]
    for name, function, *arguments in cases:
        assert refusal(library, function, *arguments) == (BAD_ARGUMENT, f"{name} is null"), function


def test_handles_that_are_not_open_are_refused(library: Library, path: Path) -> None:
    """Never opened, invented, negative, closed: each call answers, and none touches freed memory."""
    closed = ctypes.c_int64()
    library.call("fl_open", os.fsencode(path), 0, ctypes.byref(closed))
    library.call("fl_close", closed)
    call, info, tensor, needed = Call(), MethodInfo(), TensorInfo(), ctypes.c_uint64()
    for number in (0, -5, 2**40, closed.value):
        handle = ctypes.c_int64(number)
        for name, *arguments in (
            ("fl_close", handle),
            ("fl_methods", handle, None, 0, ctypes.byref(needed)),
            ("fl_method", handle, b"step", ctypes.byref(info)),
            ("fl_method_backends", handle, b"step", None, 0, ctypes.byref(needed)),
            ("fl_input", handle, b"step", 0, ctypes.byref(tensor)),
            ("fl_output", handle, b"step", 0, ctypes.byref(tensor)),
            ("fl_load", handle, b"step"),
            ("fl_unload", handle, b"step"),
            ("fl_execute", *call.arguments(handle)),
        ):
            status, words = refusal(library, name, *arguments)
            assert (status, words) == (BAD_HANDLE, f"handle {number} is not open; open the program first")


def test_numbers_out_of_range_are_refused(library: Library, handle: ctypes.c_int64, path: Path) -> None:
    """Flags, counts and indices outside what the header names."""
    opened, tensor, call = ctypes.c_int64(7), TensorInfo(), Call()
    status, words = refusal(library, "fl_open", os.fsencode(path), 9, ctypes.byref(opened))
    assert (status, opened.value) == (BAD_ARGUMENT, 0)
    assert "got open flags 9" in words
    for index in (-1, 2):
        status, words = refusal(library, "fl_input", handle, b"step", index, ctypes.byref(tensor))
        assert (status, words) == (NOT_FOUND, f"method step has 2 inputs, got index {index}")
    arguments = (handle, b"step", call.taken, -1, call.given, 2)
    assert refusal(library, "fl_execute", *arguments)[0] == BAD_ARGUMENT
    for count in (0, 257):
        assert refusal(library, "fl_set_threads", count)[0] == BAD_ARGUMENT


def test_wrong_tensors_are_refused_one_by_one(library: Library, handle: ctypes.c_int64) -> None:
    """Count, dtype, rank, shape, bytes, null data and overlap, on either side; afterwards a right call works."""
    call = Call()
    assert refusal(library, "fl_execute", handle, b"step", call.taken, 1, call.given, 2) == (
        WRONG_COUNT,
        "method step: got 1 inputs, expected 2",
    )
    assert refusal(library, "fl_execute", handle, b"step", call.taken, 2, None, 0) == (
        WRONG_COUNT,
        "method step: got 0 outputs, expected 2",
    )
    cases: list[tuple[str, Any, int, str]] = [
        ("dtype", 4, WRONG_DTYPE, "got int64, expected float32"),
        ("dtype", 99, WRONG_DTYPE, "got dtype 99, expected float32"),
        ("rank", 1, WRONG_SHAPE, "got shape [4], expected [4, 6]"),
        ("rank", 0, WRONG_SHAPE, "got shape [], expected [4, 6]"),
        ("rank", 17, BAD_ARGUMENT, "rank must be 0 to 16"),
        ("rank", -1, BAD_ARGUMENT, "rank must be 0 to 16"),
        ("shape", None, BAD_ARGUMENT, "with no shape"),
        ("shape", (ctypes.c_int64 * 2)(6, 4), WRONG_SHAPE, "got shape [6, 4], expected [4, 6]"),
        ("shape", (ctypes.c_int64 * 2)(4, -6), WRONG_SHAPE, "got shape [4, -6], expected [4, 6]"),
        ("nbytes", 95, WRONG_SHAPE, "got 95 bytes, expected 96"),
        ("data", None, BAD_ARGUMENT, "its data pointer is null"),
    ]
    for field, value, status, words in cases:
        for side in ("input", "output"):
            call = Call()
            setattr((call.taken if side == "input" else call.given)[1], field, value)
            got = refusal(library, "fl_execute", *call.arguments(handle))
            assert got[0] == status, (field, value, got)
            assert got[1].startswith(f"method step, {side} 1: ")
            assert words in got[1]
    call = Call()
    room = np.zeros(48, np.float32)  # 192 bytes that hold both, so that nothing else lies where they overlap
    call.taken[0].data = room.ctypes.data
    call.given[1].data = room.ctypes.data + 92
    assert refusal(library, "fl_execute", *call.arguments(handle)) == (
        BAD_ARGUMENT,
        "method step: the buffer of output 1 overlaps input 0",
    )
    call = Call()
    call.given[0].data = call.given[1].data
    assert refusal(library, "fl_execute", *call.arguments(handle))[1].endswith("output 0 overlaps output 1")
    call = Call()
    library.call("fl_execute", *call.arguments(handle))
    assert call.outputs[1].tolist() == (call.inputs[0] - 0.5).tolist()


def test_text_is_cut_to_the_callers_buffer_and_always_ends(library: Library, handle: ctypes.c_int64) -> None:
    """The needed size is told whatever the capacity is."""
    needed = ctypes.c_uint64()
    text = ctypes.create_string_buffer(b"\xff" * 8, 8)
    library.call("fl_methods", handle, text, 4, ctypes.byref(needed))
    assert (text.raw, needed.value) == (b"sco\0\xff\xff\xff\xff", len("score\nstep") + 1)


def test_the_last_error_is_gone_after_a_success(library: Library) -> None:
    """A stale text must not be taken for the reason of something else."""
    refusal(library, "fl_set_threads", 0)
    assert library.number("fl_threads") >= 1
    get = library._library.fl_last_error
    text = ctypes.create_string_buffer(64)
    assert (get(text, 64), text.value) == (1, b"")
    refusal(library, "fl_set_threads", 0)
    assert get(text, 6) > 6
    assert text.value == b"got 0"


def test_the_binding_tells_what_a_method_needs(library: Library, path: Path) -> None:
    """Delegates, arenas and state of loading, for reports."""
    program = NativeProgram(library, path)
    assert program.backends("step") == ("XnnpackBackend",)
    assert program.planned_bytes("step") > program.planned_bytes("score") > 0
    assert not program.loaded("step")
    program.close()


def test_the_header_is_plain_c(tmp_path: Path) -> None:
    """A C99 compiler takes it without a warning, and the structures are as large as the binding's."""
    sizes = {"fl_buffer": Buffer, "fl_tensor_info": TensorInfo, "fl_method_info": MethodInfo}
    checks = "\n".join(
        f"typedef char {name}_[sizeof({name}) == {ctypes.sizeof(kind)} ? 1 : -1];" for name, kind in sizes.items()
    )
    source = tmp_path / "plain.c"
    source.write_text(f'#include "fl_runtime.h"\n{checks}\nint abi = FL_ABI_VERSION;\n')
    flags = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
    subprocess.run(["cc", *flags, "-I", build.SOURCES, source], check=True)


def test_a_library_of_another_kind_is_refused(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a library, another library, another ABI: each with the command that repairs it."""
    text = tmp_path / "libfl_runtime.so"
    text.write_text("no library")
    others = [text, Path(ctypes.util.find_library("m") or "libm.so.6")]
    for other in others:
        with pytest.raises(NativeError, match=r"cannot load .*build it again: python -m edge_runtime"):
            Library(other)
    monkeypatch.setattr(binding, "ABI_VERSION", 2)
    with pytest.raises(NativeError, match="has ABI 1, expected 2"):
        Library(library.path)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the build a cache of its own."""
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGE_RUNTIME_LIBRARY", raising=False)
    return tmp_path / "cache"


HIDDEN = "import sys; sys.modules['executorch'] = None; from edge_runtime.native.build import main; sys.exit(main())"


def test_two_processes_build_at_once_and_a_third_finds_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no executorch is installed one fetches its wheel and builds while the other waits.

    One library remains, nothing half-made is left, no later call builds, and the library can be loaded.
    """
    command = [sys.executable, "-c", HIDDEN, "--json"]
    both = [subprocess.Popen(command, cwd=REPOSITORY, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    answers = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    libraries = [json.loads(out)["library"] for out, _ in answers]
    monkeypatch.setitem(sys.modules, "executorch", None)
    assert libraries[0] == libraries[1] == str(build.library_path(sdk.find_sdk()))
    assert {path.name for path in (cache / "native").iterdir()} == {Path(libraries[0]).parent.name, "lock"}
    assert [sum(err.count(word) for _, err in answers) for word in ("fetching", "building")] == [1, 1]
    assert [path.name for path in Path(libraries[0]).parent.iterdir()] == [build.LIBRARY]
    said: list[str] = []
    assert build.ensure(say=said.append) == Path(libraries[0])
    assert said == []
    assert build.origin(Path(libraries[0])) == "compiled over executorch's unpacked wheel"
    loaded = f"from edge_runtime.native.binding import Library; print(Library({libraries[0]!r}).executorch_version)"
    done = subprocess.run([sys.executable, "-c", loaded], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(sdk.VERSION)


def test_where_a_library_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """EDGE_RUNTIME_CACHE, then XDG_CACHE_HOME, then the home folder; the key follows the package and the compiler."""
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "own"))
    assert sdk.cache_folder() == tmp_path / "own"
    monkeypatch.delenv("EDGE_RUNTIME_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sdk.cache_folder() == tmp_path / "edge_runtime"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert sdk.cache_folder() == Path.home() / ".cache/edge_runtime"
    one = sdk.Sdk(tmp_path, "1.5.1")
    keys = {build.key(one), build.key(sdk.Sdk(tmp_path, "1.5.2")), build.key(sdk.Sdk(tmp_path / "b", "1.5.1"))}
    boards = [build.Cross("aarch64", "aarch64-linux-gnu-g++"), build.Cross("riscv64", "aarch64-linux-gnu-g++")]
    keys |= {build.key(one, board) for board in boards}
    monkeypatch.setenv("CXX", "clang++")
    assert len({*keys, build.key(one)}) == 6


def test_a_library_built_elsewhere_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """EDGE_RUNTIME_LIBRARY wins over a build, and must be a file."""
    monkeypatch.setenv("EDGE_RUNTIME_LIBRARY", str(tmp_path / "lib.so"))
    with pytest.raises(sdk.NativeBuildError, match="which is no file; correct it or unset it"):
        build.ensure()
    (tmp_path / "lib.so").touch()
    assert build.ensure() == tmp_path / "lib.so"
    assert build.origin(tmp_path / "lib.so") == "named by EDGE_RUNTIME_LIBRARY"


def package(folder: Path, version: str | None, *, sdk: bool) -> Path:
    """Lay out an executorch package as far as the build looks at it."""
    (folder / "lib").mkdir(parents=True)
    (folder / "share/cmake").mkdir(parents=True)
    if version:
        (folder / "version.py").write_text(f'__version__ = "{version}"\n')
    if sdk:
        (folder / "lib/libexecutorch.so").touch()
        (folder / "share/cmake/executorch-config.cmake").write_text("")
    return folder


def test_executorch_is_found_or_asked_for(tmp_path: Path) -> None:
    """Too old, without its C++ part: each answer gives the command to run; an installed one is taken."""
    advice = "pip install --no-deps executorch==1.5.1"
    old, bare, unnamed = (tmp_path / name for name in ("old", "bare", "unnamed"))
    with pytest.raises(sdk.NativeBuildError, match=f"executorch 1.4.1 has no C.*{advice}"):
        sdk.find_sdk(package(old, "1.4.1", sdk=True))
    with pytest.raises(sdk.NativeBuildError, match=rf"has no C\+\+ SDK .*{advice}"):
        sdk.find_sdk(package(bare, "1.5.1", sdk=False))
    assert sdk.find_sdk(package(unnamed, None, sdk=True)).version == "of unknown version"
    assert sdk.find_sdk().installed


def only(folder: Path, *names: str) -> str:
    """Make a folder with links to these programs and return it as a PATH."""
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(shutil.which(name) or "/bin/true")
    return str(folder)


@pytest.mark.parametrize(
    ("present", "words"),
    [
        ((), "cmake is needed.*pip install cmake"),
        (("cmake",), r"a C\+\+17 compiler is needed .*c\+\+, g\+\+, clang\+\+ not found.*apt install g\+\+"),
        (("cmake", "c++"), "make or ninja is needed.*pip install ninja"),
    ],
)
def test_missing_tools_are_named(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...], words: str
) -> None:
    """What is missing, and the command that gets it; nothing is written."""
    monkeypatch.setenv("PATH", only(tmp_path / "bin", *present))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(sdk.NativeBuildError, match=words):
        build.ensure(sdk=sdk.Sdk(tmp_path, "1.5.1"))
    assert not cache.exists()


def test_cmake_and_ninja_beside_python_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of pip has them there, though the environment is not activated."""
    monkeypatch.setenv("PATH", only(tmp_path / "bin", "c++"))
    scripts = tmp_path / "scripts"
    only(scripts, "cmake", "ninja")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(scripts))
    tools = build._find_tools()
    assert tools.cmake == str(scripts / "cmake")
    assert tools.generator == ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={scripts / 'ninja'}")


def test_a_failing_compiler_is_quoted_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command ends with 1 and one line with the first errors."""
    pytest.importorskip("executorch")
    monkeypatch.setenv("CXX", "/bin/false")
    assert build.main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith("building the native driver for executorch")
    assert len(rest) == 1
    assert rest[0].startswith("error: building the native driver failed: ")
    assert [path.name for path in (cache / "native").iterdir()] == ["lock"]


def test_a_build_that_hangs_or_cannot_be_written_is_an_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is bounded, and an unwritable cache is answered with the variable that moves it."""
    monkeypatch.setattr(build, "_BUILD_SECONDS", 0.01)
    with pytest.raises(sdk.NativeBuildError, match="did not finish"):
        build._run((sys.executable, "-c", "input()"))
    cache.write_text("a file where the folder should be")
    with pytest.raises(sdk.NativeBuildError, match="set EDGE_RUNTIME_CACHE to a folder"):
        build.ensure(sdk=sdk.Sdk(tmp_path, "1.5.1"))


def test_the_command_says_where_the_library_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Run again, it builds nothing; bad usage ends with 2."""
    pytest.importorskip("executorch")
    assert build.main([]) == 0
    said = capsys.readouterr().out
    assert build.LIBRARY in said
    assert sdk.installed_version() in said
    assert build.main(["--runner", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["runner"]).with_name(build.LIBRARY).is_file()
    assert Path(told["runner"]) == build.ensure_runner()
    with pytest.raises(SystemExit) as caught:
        build.main(["--nonsense"])
    assert caught.value.code == 2
    assert build.main(["--executorch", "/nowhere"]) == 1


def test_what_a_wheel_for_boards_brought_is_used_before_anything_is_built(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No executorch is looked for; EDGE_RUNTIME_LIBRARY still wins, and a library that cannot be loaded is told of."""
    monkeypatch.setattr(build.built_in, "LIBRARY", tmp_path / build.LIBRARY)
    monkeypatch.setitem(sys.modules, "executorch", None)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(sdk.NativeBuildError, match="libraries are not here"):
        build.ensure()
    build.built_in.LIBRARY.write_text("no library")
    assert build.ensure() == build.built_in.LIBRARY
    assert build.origin(build.built_in.LIBRARY) == "from the wheel for boards"
    assert build.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"library": str(build.built_in.LIBRARY)}
    assert build.main(["--force"]) == 1
    with pytest.raises(NativeError, match="install the wheel again that is for this machine"):
        Library(build.built_in.LIBRARY)
    (tmp_path / "own.so").touch()
    monkeypatch.setenv("EDGE_RUNTIME_LIBRARY", str(tmp_path / "own.so"))
    assert build.ensure() == tmp_path / "own.so"
    assert not (cache / "native").exists()
