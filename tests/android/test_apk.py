"""Building an APK: parts held against digests, results kept by content, files on their borders, refusals in words."""

from __future__ import annotations

import io
import json
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from android_demo.apk import cache, parts, runtime, sign, tools
from android_demo.apk.__main__ import main
from android_demo.apk.build import Order, build
from android_demo.apk.pack import PAGE, Entry, pack
from android_demo.apk.verify import Library, check_alignment, native_libraries, segment_alignment, verify
from android_demo.errors import BuildError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of nothing, as everybody knows it."""


def elf(*alignments: int) -> bytes:
    """Return the headers of a 64-bit ELF file with a loadable segment for each alignment."""
    head = bytearray(64)
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<H", head, 56, len(alignments))
    return bytes(head) + b"".join(struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0, 0, one) for one in alignments)


def test_libraries_are_stored_on_page_borders_and_resources_on_words(tmp_path: Path) -> None:
    """Python's own reader finds the contents; what is not mapped is compressed."""
    library = elf(PAGE) + bytes(1000)
    apk = tmp_path / "a.apk"
    pack([Entry("classes.dex", b"x" * 999), Entry("resources.arsc", b"abc"), Entry("lib/a/libx.so", library)], apk)
    with zipfile.ZipFile(apk) as opened:
        assert opened.testzip() is None
        assert opened.read("lib/a/libx.so") == library
        kinds = {info.filename: info.compress_type for info in opened.infolist()}
        assert {info.date_time for info in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert kinds == {"classes.dex": zipfile.ZIP_DEFLATED, "resources.arsc": 0, "lib/a/libx.so": 0}
    (packed,) = native_libraries(apk)
    assert (packed.offset % 16384, packed.segments, packed.size) == (0, 16384, len(library))
    assert apk.read_bytes()[packed.offset : packed.offset + len(library)] == library
    assert apk.read_bytes().index(b"abc") % 4 == 0
    check_alignment((packed,))


def test_equal_contents_are_equal_bytes(tmp_path: Path) -> None:
    """Nothing of the moment or the place is in an unsigned APK; two files of one name are refused."""
    for name in ("a.apk", "b.apk"):
        pack([Entry("one", b"1" * 100), Entry("two.so", elf(PAGE))], tmp_path / name)
    assert (tmp_path / "a.apk").read_bytes() == (tmp_path / "b.apk").read_bytes()
    with pytest.raises(BuildError, match="two files of the APK have the name one"):
        pack([Entry("one", b""), Entry("one", b"")], tmp_path / "c.apk")


def test_a_library_that_no_16_kb_phone_can_map_is_refused(tmp_path: Path) -> None:
    """For its place, its segments, or because it is compressed."""
    assert segment_alignment(elf(65536, 4096)) == 4096
    with pytest.raises(BuildError, match=r"libx\.so lies at 100, expected a multiple of 16384"):
        check_alignment((Library("libx.so", 1, 100, PAGE),))
    with pytest.raises(BuildError, match=r"libx\.so has segments aligned to 4096"):
        check_alignment((Library("libx.so", 1, PAGE, 4096),))
    with pytest.raises(BuildError, match=r"libx\.so has segments aligned to 0"):
        check_alignment((Library("libx.so", 1, PAGE, 0),))
    with zipfile.ZipFile(tmp_path / "z.apk", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("libx.so", elf(PAGE))
    with pytest.raises(BuildError, match=r"libx\.so is compressed"):
        native_libraries(tmp_path / "z.apk")


def test_a_part_with_other_bytes_is_refused(tmp_path: Path) -> None:
    """Both digests are named; a part that nobody wrote down is not fetched."""
    (tmp_path / "part.jar").write_bytes(b"")
    parts.check("a:b:1", tmp_path / "part.jar", EMPTY)
    with pytest.raises(BuildError, match=f"a:b:1 has the SHA-256 {EMPTY}, expected 00"):
        parts.check("a:b:1", tmp_path / "part.jar", "00")
    with pytest.raises(BuildError, match=r"x:y:1 is not in parts\.toml"):
        parts.fetch(["x:y:1"], print)


def test_every_part_that_the_build_names_has_a_digest() -> None:
    """64 hexadecimal digits each."""
    known = parts.table()
    assert {parts.DEXER, parts.PLATFORM, parts.FBJNI, parts.LOADER} == set(known.maven)
    assert {parts.RUNTIME} == set(known.npm)
    digests = [*known.maven.values(), *known.npm.values(), *known.libraries.values()]
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_a_stage_runs_once_for_each_content(tmp_path: Path) -> None:
    """The key is of names and bytes; only the newest result is kept, and none of a stage that failed."""
    source, calls = tmp_path / "source", []
    source.mkdir()
    (source / "a").write_text("1")

    def make(work: Path) -> None:
        calls.append(work)
        (work / "made").write_text((source / "a").read_text())

    first = cache.kept(tmp_path / "results", "stage", cache.key("v", files=[source]), make)
    assert cache.kept(tmp_path / "results", "stage", cache.key("v", files=[source]), make) == first
    (source / "a").write_text("2")
    second = cache.kept(tmp_path / "results", "stage", cache.key("v", files=[source]), make)
    assert (len(calls), (second / "made").read_text(), first.exists()) == (2, "2", False)
    assert cache.key("v", files=[source]) != cache.key("w", files=[source])

    def fail(work: Path) -> None:
        (work / "half").write_text("")
        raise BuildError("no")

    with pytest.raises(BuildError, match="no"):
        cache.kept(tmp_path / "results", "stage", "other", fail)
    assert [path.name for path in (tmp_path / "results").iterdir()] == [second.name]


def test_an_official_archive_takes_the_place_of_npm_s(tmp_path: Path) -> None:
    """All its libraries for phones and emulators are taken, and its classes; others are not."""
    aar = tmp_path / "executorch.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.writestr("classes.jar", b"c")
        for abi in ("arm64-v8a", "x86_64", "x86"):
            archive.writestr(f"jni/{abi}/libexecutorch.so", abi)
    place = runtime.unpacked(tmp_path / "build", "executorch", aar, runtime.aar_contents())
    files = {file.relative_to(place).as_posix(): file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert files == {
        "classes.jar": b"c",
        "arm64-v8a/libexecutorch.so": b"arm64-v8a",
        "x86_64/libexecutorch.so": b"x86_64",
    }


def test_what_is_no_runtime_is_named(tmp_path: Path) -> None:
    """A missing file, a file that is no archive, an archive without the library."""
    with pytest.raises(BuildError, match=r"no\.aar: no such file"):
        runtime.unpacked(tmp_path, "x", tmp_path / "no.aar", runtime.aar_contents())
    (tmp_path / "text.aar").write_text("text")
    with pytest.raises(BuildError, match=r"text\.aar cannot be read"):
        runtime.unpacked(tmp_path, "x", tmp_path / "text.aar", runtime.aar_contents())
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as tar:
        info = tarfile.TarInfo("package/android/libs/classes.jar")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"c"))
    with pytest.raises(BuildError, match=r"p\.tgz has no package/third-party/.*arm64-v8a/libexecutorch\.so"):
        runtime.unpacked(tmp_path, "x", tmp_path / "p.tgz", runtime.npm_contents())


def test_a_build_without_a_runtime_takes_nothing(tmp_path: Path) -> None:
    """Not even from a network."""
    assert runtime.choose(None, without=True, folder=tmp_path, say=print) == runtime.NONE


def test_a_key_without_its_store_or_password_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is signed."""
    monkeypatch.delenv(sign.PASSWORD_VARIABLE, raising=False)
    with pytest.raises(BuildError, match="no such key store"):
        sign.choose(tmp_path / "no.jks", "a")
    (tmp_path / "a.jks").write_bytes(b"")
    with pytest.raises(BuildError, match="put it into KEYSTORE_PASSWORD"):
        sign.choose(tmp_path / "a.jks", "a")
    monkeypatch.setenv(sign.PASSWORD_VARIABLE, "a" * 8)
    assert sign.choose(tmp_path / "a.jks", "a").password == "a" * 8


def test_a_program_that_fails_is_told_without_secrets() -> None:
    """Its last lines, with the password blotted out."""
    with pytest.raises(BuildError, match=r"^sh failed \(3\): one \*\*\*; two$"):
        tools.run("sh", "-c", "echo one pass; echo two >&2; exit 3", hidden="pass")


def test_missing_tools_are_named_with_what_gets_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All at once, before anything is fetched."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match=r"aapt2 \(on Debian .*apt-get install aapt\); apksigner .*make android-tools"):
        build(Order(folder=tmp_path / "build"), print)


def test_the_command_checks_what_was_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 with one line when there is nothing; 2 for options that do not go together."""
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert "edge-experts.apk: no such file; run: make android" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["--alias", "a"])


@pytest.mark.skipif(shutil.which("apksigner") is None, reason="apksigner is not installed (apt-get install apksigner)")
def test_an_unsigned_file_is_not_verified(tmp_path: Path) -> None:
    """The refusal is the verifier's own."""
    pack([Entry("AndroidManifest.xml", b"")], tmp_path / "a.apk")
    with pytest.raises(BuildError, match="apksigner failed"):
        verify(tmp_path / "a.apk")


def test_a_report_is_plain_json() -> None:
    """Libraries are objects in a list."""
    from android_demo.apk.verify import Report

    report = Report("a", 1, EMPTY, "p", "1", 26, 34, "", (Library("l.so", 1, PAGE, PAGE),))
    assert json.loads(json.dumps(report.to_dict()))["libraries"][0]["offset"] == 16384
