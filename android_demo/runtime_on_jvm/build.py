"""Lay out Android's libraries with what they need of Android, so that this machine's Java can load them.

Everything is kept for the user by its content: sources, libraries and compiler.
"""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.apk import cache, parts, runtime, tools
from android_demo.errors import BuildError
from android_demo.runtime_on_jvm import symbols

HERE: Final = Path(__file__).parent
ABI: Final = "x86_64"
_LIBRARIES: Final = ("libexecutorch.so", "libfbjni.so", "libc++_shared.so")
_SONAME: Final = "libexecutorch_jni.so"
"""What the runtime calls itself."""
_EMPTY: Final = ("m", "dl", "android")
"""Android's libraries of which only the name is asked for: all functions are in libc.so."""
_COMPILE: Final = ("cc", "-std=gnu11", "-O2", "-fPIC", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Runtime:
    """What Java needs.

    Args:
        folder: for ``-Djava.library.path``.
        jars: the runtime's Java side.
    """

    folder: Path
    jars: tuple[Path, ...]

    @property
    def bridge(self) -> Path:
        """The library that ``System.load`` must get before any class of the runtime is touched."""
        return self.folder / "libbridge.so"

    @property
    def class_path(self) -> str:
        """Our Java classes and the runtime's."""
        return os.pathsep.join(map(str, [self.folder / "classes", *self.jars]))


def missing() -> list[str]:
    """Return what is not here, each with what gets it."""
    lacking = tools.missing(("javac", "java", "mvn", "npm"))
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        lacking.append(f"Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    if shutil.which("cc") is None or shutil.which("nm") is None:
        lacking.append("a C compiler and nm (apt-get install gcc)")
    return lacking


def prepare(say: parts.Say = lambda _: None) -> Runtime:
    """Fetch and build what is not there yet.

    Raises:
        BuildError: saying what is missing.
    """
    lacking = missing()
    if lacking:
        raise BuildError("Android's runtime on this machine needs " + "; ".join(lacking))
    place = parts.folder().parent / "runtime-on-jvm"
    chosen = runtime.choose(None, without=False, folder=place, say=say)
    libraries = {Path(name).name: file for name, file in chosen.libraries if name.startswith(f"lib/{ABI}/")}
    sources = [HERE / "shim", HERE / "java", HERE / "symbols.py", HERE / "build.py"]
    compiler = tools.run("cc", "--version")
    key = cache.key(compiler, str(tools.jdk_version()), files=[*sources, *libraries.values(), *chosen.jars])
    folder = cache.kept(place, "laid-out", key, lambda work: _lay_out(work, libraries, chosen.jars, say))
    return Runtime(folder, chosen.jars)


def _lay_out(work: Path, libraries: dict[str, Path], jars: tuple[Path, ...], say: parts.Say) -> None:
    say("build what Android's runtime needs of Android")
    for name in _LIBRARIES:
        shutil.copy2(libraries[name], work / name)
    _c_library(work)
    for name in _EMPTY:
        (work / "empty.map").write_text("LIBC { local: *; };\n")
        _link(work, f"lib{name}.so", "-x", "c", "/dev/null", "-nostdlib", f"-Wl,--version-script={work / 'empty.map'}")
    _link(work, "liblog.so", HERE / "shim" / "log.c")
    _group(work)
    _link(work, "libbridge.so", HERE / "shim" / "bridge.c")
    java = sorted((HERE / "java").rglob("*.java"))
    tools.run("javac", "-nowarn", "-d", work / "classes", "-cp", os.pathsep.join(map(str, jars)), *java)


def _c_library(work: Path) -> None:
    compiled, jumps, versions = work / "bionic.o", work / "jumps.s", work / "libc.map"
    tools.run(*_COMPILE, "-fno-builtin", "-fvisibility=hidden", "-c", HERE / "shim" / "bionic.c", "-o", compiled)
    wanted = symbols.imports(work / name for name in _LIBRARIES)
    jumps.write_text(symbols.jumps(wanted, symbols.defined(compiled)))
    versions.write_text(symbols.versions(wanted))
    _link(work, "libc.so", compiled, jumps, f"-Wl,--version-script={versions}", "-Wl,-z,defs", "-lm")


def _group(work: Path) -> None:
    """Make the library that stands for Android's search order: the runtime, then what it needs, from this folder."""
    (work / _SONAME).symlink_to(_LIBRARIES[0])
    search = ("-Wl,--no-as-needed", "-Wl,--disable-new-dtags", "-Wl,-rpath,$ORIGIN", "-Wl,--allow-shlib-undefined")
    _link(work, "libgroup.so", "-x", "c", "/dev/null", "-x", "none", "-nostdlib", *search, work / _SONAME)


def _link(work: Path, name: str, *what: str | Path) -> None:
    tools.run(*_COMPILE, "-shared", *what, f"-Wl,-soname,{name}", "-o", work / name)
