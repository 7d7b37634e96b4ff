"""A Swift toolchain: the one on this machine's path, or Debian's, unpacked in the per-user cache as a root of its own.

    python -m ios.tools.toolchain        # fetches it: 555 MB of packages, 2.5 GB unpacked

Debian 13 is the first that has Swift; an older one cannot run its programs beside its own C library. So the packages
and all that they need are unpacked into a folder, and executed with that folder as the root of the file system, in a
mount and process namespace of their own. They come from this machine's own source of Debian's packages, by an apt with
settings and lists of its own: this machine's are not touched, and nothing is installed on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edge_runtime.native import sdk

ROOT: Final = Path(__file__).parents[2]
"""The checkout."""
SUITE: Final = "trixie"
PACKAGES: Final = ("base-files", "swiftlang", "libc6-dev", "libstdc++-14-dev", "libssl3t64")
"""The last for the tests: Ed25519 of libcrypto."""
_KEYRING: Final = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SECONDS: Final = 1200
_PLACE: Final = "checkout"  # where the checkout stands in Debian's root
_ENTER: Final = f"""
root=$1; checkout=$2; shift 2
mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev" && mount --bind "$checkout" "$root/{_PLACE}" &&
exec unshare --root="$root" --wd=/{_PLACE}/ios "$@"
"""


class ToolchainError(RuntimeError):
    """There is no Swift here and none can be had; the text says why, and what to do."""


def root() -> Path:
    """Return where Debian's toolchain is, or will be."""
    return sdk.cache_folder() / "swift" / SUITE


def missing() -> str:
    """Return what is not here and how to get it; nothing where Swift is here."""
    if _here("swift") or (root() / "usr/libexec/swift/bin/swift").exists():
        return ""
    return "no Swift toolchain is here: install one (swift.org, Xcode), or run make swift-tools on Debian"


def _here(program: str) -> str | None:
    """Return the path of a program of this machine's own toolchain; Debian's package puts few of them on the path."""
    return shutil.which(program) or shutil.which(program, path="/usr/libexec/swift/bin")


def run(program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run a program of the toolchain in ``ios/``; what it prints goes where ours does.

    Args:
        program: ``swift`` or ``swiftc``.
        arguments: its own.
        environment: variables beside those of this process (Debian's toolchain sees these alone); a path below the
            checkout is told as it is seen from within.

    Returns:
        Its exit status.

    Raises:
        ToolchainError: when there is no Swift here.
    """
    more = dict(environment or {})
    if own := _here(program):
        return subprocess.run([own, *arguments], cwd=ROOT / "ios", env={**os.environ, **more}, check=False).returncode
    if lacking := missing():
        raise ToolchainError(lacking)
    seen = {name: value.replace(str(ROOT), f"/{_PLACE}") for name, value in more.items()}
    seen |= {"HOME": "/tmp", "PATH": "/usr/libexec/swift/bin:/usr/bin:/bin"}  # noqa: S108 - of the other root
    entered = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    if os.geteuid() != 0:
        entered.append("--map-root-user")
    line = [*entered, "sh", "-c", _ENTER, "sh", str(root()), str(ROOT), program, *arguments]
    return subprocess.run(line, env=seen, check=False).returncode


def fetch() -> None:
    """Fetch and unpack Debian's toolchain, unless Swift is here.

    Raises:
        ToolchainError: when it cannot be had, as where this machine's packages are not Debian's.
    """
    if not missing():
        return
    root().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-", dir=root().parent) as work:
        folder = Path(work)
        for name in ("state/lists/partial", "cache/archives/partial", "tree"):
            (folder / name).mkdir(parents=True)
        (folder / "state/status").touch()
        (folder / "sources").write_text(f"deb [signed-by={_KEYRING}] {_source(folder)} {SUITE} main\n")
        _settings(folder, {"Dir::Etc::sourcelist": f"{folder}/sources", "Dir::Etc::sourceparts": "/dev/null"})
        _apt(folder, "update")
        _apt(folder, "--yes", "--no-install-recommends", "--download-only", "install", *PACKAGES)
        packages = sorted(
            (folder / "cache/archives").glob("*.deb"), key=lambda one: not one.name.startswith("base-files_")
        )
        for package in packages:  # base-files first: it says that /lib is /usr/lib
            _run(["dpkg", "-x", str(package), str(folder / "tree")])
        for place in ("proc", "dev", "tmp", _PLACE):
            (folder / "tree" / place).mkdir(exist_ok=True)
        if not (folder / "tree/usr/libexec/swift/bin/swift").exists():
            raise ToolchainError("Debian's packages brought no usr/libexec/swift/bin/swift")
        shutil.rmtree(root(), ignore_errors=True)
        (folder / "tree").replace(root())


def _source(folder: Path) -> str:
    """Return where this machine gets Debian's packages from."""
    _settings(folder, {})
    listed = _apt(folder, "indextargets", "--no-release-info", "--format", "$(ORIGIN) $(RELEASE) $(REPO_URI)")
    places = [line.split() for line in listed.splitlines()]
    plain = [words[-1] for words in places if "-" not in words[-2]]  # neither updates nor security
    if not Path(_KEYRING).exists() or not plain or "ID=debian" not in Path("/etc/os-release").read_text().split("\n"):
        raise ToolchainError("Swift can be fetched on Debian only; elsewhere install a toolchain of swift.org's")
    return plain[0]


def _settings(folder: Path, more: Mapping[str, str]) -> None:
    """Write what apt does in ``folder``: with lists, packages and a state of its own."""
    settings = {
        "APT::Sandbox::User": "",  # the folder is ours alone
        "Dir::State": f"{folder}/state",
        "Dir::State::status": f"{folder}/state/status",
        "Dir::Cache": f"{folder}/cache",
        **more,
    }
    (folder / "settings").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))


def _apt(folder: Path, *arguments: str) -> str:
    return _run(["apt-get", "-qq", *arguments], {"APT_CONFIG": str(folder / "settings")})


def _run(line: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            line,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"Swift cannot be fetched: {line[0]} did not finish ({error})") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ToolchainError(f"Swift cannot be fetched: {' '.join(line[:3])}: {last}")
    return done.stdout


def main() -> int:
    """Fetch it. Returns: 0 done, 1 it cannot be had."""
    try:
        fetch()
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
