"""A tokenizer and the table of words that it counts into: held together by export, and tried by ``doctor``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkpoints import changed

from edge_runtime.__main__ import main
from edge_runtime.wire.digests import file_sha256
from export import backbone
from export.errors import UnsupportedModelError

if TYPE_CHECKING:
    from export.pipeline import Built

Build = Callable[..., "Built"]


def _extended(folder: Path, **parts: object) -> None:
    """Give the tokenizer of a folder another word, id 100, or other parts."""
    tree = json.loads((folder / "tokenizer.json").read_text())
    if not parts:
        tree["model"]["vocab"]["zebra"] = 100
    (folder / "tokenizer.json").write_text(json.dumps({**tree, **parts}))


def test_more_ids_than_words_are_refused(tiny: Path, tmp_path: Path) -> None:
    """The table has rows 0 to 99; id 100 may be a word or an added token."""
    folder = changed(tiny, tmp_path / "word")
    backbone.find(str(folder))
    _extended(folder)
    with pytest.raises(
        UnsupportedModelError, match=r"ids up to 100 \('zebra'\), and the table .* has 100 rows; resize"
    ):
        backbone.find(str(folder))
    folder = changed(tiny, tmp_path / "added")
    _extended(folder, added_tokens=[{"id": 101, "content": "<tool>", "special": True}])
    with pytest.raises(UnsupportedModelError, match=r"ids up to 101 \('<tool>'\)"):
        backbone.find(str(folder))


def test_doctor_tries_the_largest_id(build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An older export let such a package through, which fails on texts with that word alone."""
    folder = tmp_path / "package"
    shutil.copytree(build("trunk", layers="last:2").package.folder, folder)

    def tokenizer() -> dict[str, object]:
        main(["doctor", "--package", str(folder), "--json", "--threads", "1"])
        checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
        found: dict[str, object] = checks["tokenizer"]
        return found

    assert tokenizer()["detail"] == "ids up to 99, all of them words of the program"
    _extended(folder)
    path, manifest = folder / "tokenizer.json", json.loads((folder / "manifest.json").read_text())
    manifest["files"]["tokenizer.json"] = {"sha256": file_sha256(path), "bytes": path.stat().st_size}
    manifest["architecture"]["tokenizer_digest"] = file_sha256(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    broken = tokenizer()
    assert not broken["ok"]
    assert "tokenizer.json gives ids up to 100, on which the program fails" in str(broken["detail"])
