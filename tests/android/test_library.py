"""What `make android-library` publishes: whole artifacts, and a project over them alone that learns on the JVM."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "android_demo"
LIBRARY = DEMO / "build" / "maven"
GROUP = LIBRARY / "org" / "edgeexperts"
VERSION = "0.1.0"
MODULES = ("background", "core", "desktop", "engine", "wire")
NAMESPACE = "{http://maven.apache.org/POM/4.0.0}"
ANDROID = "{http://schemas.android.com/apk/res/android}"

pytestmark = pytest.mark.skipif(not LIBRARY.is_dir(), reason="the library is not built (make android-library)")


def artifact(module: str, rest: str) -> Path:
    """Return the path of an artifact: ``rest`` is what follows the version in its name."""
    return GROUP / module / VERSION / f"{module}-{VERSION}{rest}"


def pom(module: str) -> ET.Element:
    """Return the root of a published pom."""
    return ET.parse(artifact(module, ".pom")).getroot()  # noqa: S314 - this build wrote it


def dependencies(module: str) -> set[tuple[str, str]]:
    """Return what a pom brings along: group and name, of the scopes that reach who depends on it."""
    listed = pom(module).iterfind(f"{NAMESPACE}dependencies/{NAMESPACE}dependency")
    reaching = [item for item in listed if item.findtext(f"{NAMESPACE}scope", "compile") in {"compile", "runtime"}]
    return {
        (item.findtext(f"{NAMESPACE}groupId", ""), item.findtext(f"{NAMESPACE}artifactId", "")) for item in reaching
    }


def test_each_module_has_classes_sources_and_kdoc() -> None:
    """Nothing else is published; KDoc is HTML."""
    assert sorted(path.name for path in GROUP.iterdir()) == list(MODULES)
    for module in MODULES:
        with zipfile.ZipFile(artifact(module, ".jar")) as classes:
            assert any(
                name.startswith(f"org/edgeexperts/{module}/") and name.endswith(".class") for name in classes.namelist()
            )
        with zipfile.ZipFile(artifact(module, "-sources.jar")) as sources:
            written = {path.name for path in (DEMO / module / "src/main/kotlin").rglob("*.kt")}
            assert written <= {Path(name).name for name in sources.namelist()}
        with zipfile.ZipFile(artifact(module, "-javadoc.jar")) as kdoc:
            assert "index.html" in kdoc.namelist()
    with zipfile.ZipFile(artifact("core", "-javadoc.jar")) as kdoc:
        (page,) = [name for name in kdoc.namelist() if name.endswith("-edge-device/classify.html")]
        assert "Says what" in kdoc.read(page).decode()


def test_a_pom_names_what_it_brings_along() -> None:
    """No parent of this repository's; versions are written out; an app brings ExecuTorch and Android itself."""
    ours = "org.edgeexperts"
    kotlin = ("org.jetbrains.kotlin", "kotlin-stdlib")
    brought = {
        "wire": {kotlin, ("com.google.protobuf", "protobuf-javalite"), ("com.google.crypto.tink", "tink-android")},
        "core": {kotlin, (ours, "wire"), ("org.eclipse.paho", "org.eclipse.paho.client.mqttv3")},
        "engine": {kotlin, (ours, "core")},
        "background": {kotlin, (ours, "core")},
        "desktop": {kotlin, (ours, "core"), ("net.java.dev.jna", "jna")},
    }
    for module in MODULES:
        root = pom(module)
        assert root.find(f"{NAMESPACE}parent") is None
        assert root.findtext(f"{NAMESPACE}version") == VERSION
        assert dependencies(module) == brought[module]
        assert "${" not in artifact(module, ".pom").read_text(encoding="utf-8")


def test_the_background_module_is_an_aar_with_its_manifest() -> None:
    """Gradle merges its job, receiver and permissions; it has the jar's classes and no resources."""
    assert pom("background").findtext(f"{NAMESPACE}packaging") == "aar"
    with zipfile.ZipFile(artifact("background", ".aar")) as aar:
        assert sorted(aar.namelist()) == ["AndroidManifest.xml", "R.txt", "classes.jar"]
        assert aar.read("classes.jar") == artifact("background", ".jar").read_bytes()
        manifest = ET.fromstring(aar.read("AndroidManifest.xml"))  # noqa: S314 - this build wrote it
    with zipfile.ZipFile(artifact("background", ".jar")) as classes:
        names = [manifest.find(f"application/{kind}").get(f"{ANDROID}name") for kind in ("service", "receiver")]  # type: ignore[union-attr]
        assert {f"{name.replace('.', '/')}.class" for name in names if name} <= set(classes.namelist())


def test_a_project_over_the_library_alone_learns(tmp_path: Path) -> None:
    """Compiled by its own pom against these artifacts; on a program that this project exported it learns 18 texts."""
    sample = tmp_path / "sample"
    shutil.copytree(DEMO / "sample", sample, ignore=shutil.ignore_patterns("target"))
    for module in MODULES:  # what Maven keeps of a version it never fetches again
        shutil.rmtree(Path.home() / ".m2/repository/org/edgeexperts" / module / VERSION, ignore_errors=True)
    subprocess.run(["mvn", "-q", "-B", "-ntp", f"-Dlibrary={LIBRARY}", "package"], cwd=sample, check=True, timeout=560)
    classes = sample / "target/dependency"
    ours = [path for path in classes.iterdir() if path.name.removesuffix(f"-{VERSION}.jar") in MODULES]
    assert sorted(path.name for path in ours) == [f"{name}-{VERSION}.jar" for name in ("core", "desktop", "wire")]
    for path in ours:
        assert path.read_bytes() == artifact(path.name.removesuffix(f"-{VERSION}.jar"), ".jar").read_bytes()
    printed = learn(sample, tmp_path / "state")
    losses = [float(line.split()[1]) for line in printed if line.startswith("loss ")]
    labels = [line.split()[1:3] for line in printed if line.startswith("label ")]
    assert len(losses) == 30
    assert sum(losses[-6:]) < sum(losses[:6])
    assert len(labels) == 18
    assert sum(predicted == right for predicted, right in labels) >= 16


def learn(sample: Path, state: Path) -> list[str]:
    """Run the sample on the little package of the Kotlin tests and return its lines."""
    tests = DEMO / "desktop/src/test/python/little.py"
    little = json.loads(python(tests, DEMO / "desktop/target/little", "soft"))
    native = json.loads(python("-m", "edge_runtime.native.build", "--json"))
    command = ["java", "-cp", f"{sample}/target/sample.jar:{sample}/target/dependency/*", "SampleKt"]
    arguments = [little["packages"]["soft"], state, native["library"], little["data"]["cy"]]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def python(*words: str | Path) -> str:
    """Return what a Python program prints."""
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=560
    ).stdout
