"""A tokenizer and the table of words that it counts into: held together by export, and tried by ``doctor``."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from checkpoints import changed
from tiny_backbone import save_tiny

from edge_runtime.__main__ import main
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.manifest import FileEntry, Manifest
from export.errors import ConfigError, UnsupportedModelError
from export.planning.config import ExportConfig
from export.planning.job import plan
from export.planning.profiles import FOLDER, load_profile
from export.source import backbone
from export.source.app_tokenizers import KINDS, app_fault
from export.source.tokenizer_file import check_reader

sys.path.append(str(Path(__file__).parents[3] / "android_demo/core/src/test/python"))
from refused_tokenizers import BASE, REFUSED  # what the Kotlin device's tests refuse

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

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
        check: dict[str, object] = checks["tokenizer"]
        return check

    assert tokenizer()["detail"] == "ids up to 99, all of them words of the program"
    _extended(folder)
    _federate_anew(folder)
    broken = tokenizer()
    assert not broken["ok"]
    assert "tokenizer.json gives ids up to 100, on which the program fails" in str(broken["detail"])


def _federate_anew(folder: Path) -> None:
    """Make manifest and bank those of a federation with the folder's tokenizer, as an export would have."""
    before = Manifest.from_json((folder / "manifest.json").read_bytes())
    path = folder / "bank.safetensors"
    bank = Bank.read(path, before.architecture.bank_shape, before.architecture.digest())
    architecture = replace(before.architecture, tokenizer_digest=file_sha256(folder / "tokenizer.json"))
    path.write_bytes(bank.to_bytes(architecture.digest()))
    names = ("tokenizer.json", "bank.safetensors")
    entries = {name: FileEntry(file_sha256(folder / name), (folder / name).stat().st_size) for name in names}
    after = replace(before, architecture=architecture, files={**before.files, **entries})
    (folder / "manifest.json").write_bytes(after.to_json())


def _bert(folder: Path) -> None:
    """Make the tiny tokenizer one that the app reads: with a template around every text."""
    specials = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in (("[CLS]", 2), ("[SEP]", 3))}
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": specials}
    _extended(folder, post_processor=template)


def _planned(device: str, folder: Path, out: Path) -> None:
    plan(ExportConfig(device, str(folder), ("a", "b"), out, seq_len=16))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"model": {"type": "WordLevel", "vocab": {}}}, "its model is WordLevel, expected WordPiece, BPE, Unigram"),
        ({"normalizer": {"type": "Nmt"}}, "its normalizer is Nmt"),
    ],
)
def test_a_phone_gets_no_tokenizer_that_its_app_does_not_read(
    tiny: Path, tmp_path: Path, part: dict[str, object], said: str
) -> None:
    """What the Kotlin device refuses is refused by export, for profiles of phones alone."""
    folder = changed(tiny, tmp_path / "model")
    _bert(folder)
    for device in ("pixel8", "lowend-phone", "raspberrypi5", "linux-x86_64"):
        _planned(device, folder, tmp_path / "out")
    _extended(folder, **part)
    _planned("raspberrypi5", folder, tmp_path / "out")
    for device in ("pixel8", "lowend-phone"):
        with pytest.raises(UnsupportedModelError, match=rf"kind wordpiece, bpe, unigram with .*, and {said}; take a"):
            _planned(device, folder, tmp_path / "out")


@pytest.mark.parametrize(("part", "said"), REFUSED)
def test_each_part_that_the_app_does_not_read_is_named(part: dict[str, object], said: str) -> None:
    """The same parts are refused by the Kotlin device (TokenizerTest)."""
    assert app_fault(BASE) == ""
    assert app_fault({**BASE, **part}) == said


@pytest.mark.parametrize(
    "model",
    [
        {"type": "BPE", "vocab": {"a": 0}, "merges": [], "continuing_subword_prefix": "", "end_of_word_suffix": ""},
        {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 0, "byte_fallback": True},
    ],
)
def test_a_profile_may_name_some_kinds(model: dict[str, object]) -> None:
    """Software that reads WordPiece alone gets no other; a profile without kinds takes all."""
    check_reader({**BASE, "model": model}, KINDS, "model", "a phone")
    check_reader({**BASE, "model": {"type": "WordLevel", "vocab": {}}}, (), "model", "a board")
    with pytest.raises(UnsupportedModelError, match=rf"its model is {model['type']}, of the kind (bpe|unigram); take"):
        check_reader({**BASE, "model": model}, ("wordpiece",), "model", "a phone")


@pytest.mark.parametrize("part", [{"normalizer": "NFC"}, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": 1}}])
def test_a_damaged_tokenizer_is_no_crash(part: dict[str, object]) -> None:
    """What is no tokenizer at all is said to be none."""
    with pytest.raises(UnsupportedModelError, match=r"model: tokenizer.json is no tokenizer \(.*\); copy the model"):
        check_reader({**BASE, **part}, KINDS, "model", "a phone")


def test_a_phone_gets_no_task_that_its_app_does_not_do(tmp_path: Path) -> None:
    """The app classifies; a board continues texts, too."""
    folder = save_tiny(tmp_path / "llama", "llama")

    def planned(device: str) -> None:
        plan(ExportConfig(device, str(folder), (), tmp_path / "out", seq_len=16, task="causal-lm"))

    planned("raspberrypi5")
    with pytest.raises(ConfigError, match=r"causal-lm: the app on Google Pixel 8 does classification only; take"):
        planned("pixel8")


def test_a_profile_names_known_kinds_only(tmp_path: Path) -> None:
    """A profile without them takes all; a misspelt kind is no silent "all"."""
    text = (FOLDER / "pixel8.toml").read_text()
    path = tmp_path / "own.toml"
    path.write_text(text.replace('"wordpiece"', '"wordpeace"'))
    with pytest.raises(ConfigError, match=r"tokenizers = \['wordpeace', .*; expected a list of wordpiece, bpe"):
        load_profile(str(path))
    assert load_profile("linux-x86_64").tokenizers == load_profile("linux-x86_64").tasks == ()
    assert load_profile("pixel8").to_dict().keys() == {"name", "title", "budget", "compute", "defaults"}
