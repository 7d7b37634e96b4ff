"""What `make` installs and what CI does when a part fails, with an apt-get and a Makefile that only write down."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from android_demo.apk import tools

ROOT = Path(__file__).parents[1]
ANDROID_TOOLS = ("aapt2", "apksigner", "mvn", "npm", "java", "javac", "keytool")
TARGETS = (
    "setup-dev",
    "broker-tools",
    "browser-tools",
    "android-tools",
    "arm64-tools",
    "check",
    "kotlin-test",
    "android",
    "android-check",
    "android-library-test",
    "demo",
)


def program(folder: Path, name: str, script: str = "exit 0") -> None:
    """Write a shell script that can be executed."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def install(folder: Path, *present: str, user: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `make android-tools` where only these tools are; what apt-get was asked for is in ``folder``/asked."""
    for name in present:
        program(folder / "bin", name)
    program(folder / "bin", "id", f"echo {user}")
    program(folder / "bin", "apt-get", f'echo "$@" >> {folder}/asked')
    (folder / "bin" / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    command = [shutil.which("make") or "make", "-C", ROOT, "android-tools"]
    return subprocess.run(
        command, env={"PATH": str(folder / "bin")}, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("tool", ANDROID_TOOLS)
def test_only_the_package_of_the_missing_tool_is_installed(tmp_path: Path, tool: str) -> None:
    """A Node or a JDK from elsewhere stays as it is."""
    assert install(tmp_path, *(name for name in ANDROID_TOOLS if name != tool)).returncode == 0
    update, asked = (tmp_path / "asked").read_text().splitlines()
    assert update.split()[-1] == "update"
    assert asked.split() == ["-qq", "install", "-y", "--no-install-recommends", tools.DEBIAN[tool]]


def test_nothing_is_installed_where_nothing_is_missing(tmp_path: Path) -> None:
    """The package manager is not even asked."""
    assert install(tmp_path, *ANDROID_TOOLS).returncode == 0
    assert not (tmp_path / "asked").exists()


def test_who_may_not_install_is_told_the_packages(tmp_path: Path) -> None:
    """Each once: three tools are one package's."""
    done = install(tmp_path, "npm", "mvn", "apksigner", user=1000)
    assert done.returncode != 0
    assert "run as root: apt-get install aapt openjdk-17-jdk-headless\n" in done.stderr
    assert not (tmp_path / "asked").exists()


def ci(folder: Path, skip: str = "", fails: str = "") -> subprocess.CompletedProcess[str]:
    """Run CI with a Makefile whose targets say their name, one of which fails."""
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    rules = [f"{name}:\n\t@echo {name} runs{'; exit 1' if name == fails else ''}\n" for name in TARGETS]
    tests = "test:\n\t@echo 'a test'; echo '=== 1 passed in 0.01s ==='" + ("; exit 1" if fails == "test" else "")
    (folder / "Makefile").write_text(f".PHONY: {' '.join(TARGETS)} test\n" + "".join(rules) + tests + "\n")
    environment = {**os.environ, "CI_SKIP": skip}
    return subprocess.run(
        [folder / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def states(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return each part's state, from the table before the last line."""
    table = done.stdout.rsplit("\n\n", 1)[1].splitlines()[:-2]
    return {line.split()[0]: line.split()[1] for line in table}


def test_ci_ends_with_the_seconds_of_each_part_and_the_closing_line_of_pytest(tmp_path: Path) -> None:
    """All parts done, nothing of their logs."""
    done = ci(tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "=== 1 passed in 0.01s ===")
    assert states(done) == dict.fromkeys(("setup", "check", "kotlin", "android", "demo", "test"), "ok")
    assert "check runs" not in done.stdout


@pytest.mark.parametrize("target", [*TARGETS, "test"])
def test_ci_fails_with_every_part_that_fails(tmp_path: Path, target: str) -> None:
    """The part's log is shown; tools that cannot be had are no reason to leave a part out."""
    done = ci(tmp_path, fails=target)
    assert done.returncode == 1
    assert (f"{target} runs" if target != "test" else "a test") in done.stdout
    if target not in TARGETS[:5]:
        assert (list(states(done).values()).count("FAILED"), done.stdout.splitlines()[-1][:3]) == (1, "===")


def test_ci_leaves_out_what_it_is_told_to(tmp_path: Path) -> None:
    """By hand only, and said; a name that is no part's is refused."""
    done = ci(tmp_path, skip="android arm64", fails="android-tools")
    assert done.returncode == 0
    assert states(done)["android"] == "skipped"
    other = tmp_path / "other"
    other.mkdir()
    refused = ci(other, skip="androit")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "CI_SKIP names 'androit', expected some of: check kotlin android arm64 demo test" in refused.stderr
