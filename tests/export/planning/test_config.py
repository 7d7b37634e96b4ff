"""Options, labels, layers and device profiles: what is taken, and each refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.errors import DataError
from export.errors import ConfigError
from export.planning.config import ExportConfig, adapted_layers, read_examples, read_labels
from export.planning.profiles import load_profile, profile_names

PROFILE = """
name = "mine"
title = "Mine"
[budget]
memory_mib = 100
storage_mb = 100
bytes_up = 1000
bytes_down = 1000
round_seconds = 10
[compute]
threads = 2
int8_gmac_s = 1.0
fp32_gmac_s = 1.0
memory_gb_s = 1.0
[defaults]
seq_len = 16
batch_size = 4
steps_per_round = 1
runtime_mib = 10
"""


def test_all_faults_are_told_at_once() -> None:
    """A user corrects three mistakes after one run, not after three."""
    with pytest.raises(ConfigError) as caught:
        ExportConfig("pixel8", None, ("a", "a"), Path("x"), experts=0, rank=-1)
    text = str(caught.value)
    assert "experts 0: must be between 1 and 256" in text
    assert "rank -1" in text
    assert 'labels that stand twice: "a"' in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_slots": 9}, "train_slots 9: must be between 1 and 8"),
        ({"gate": "topk", "top_k": 9}, "top_k 9: must be between 1 and the 8 experts held"),
        ({"gate": "topk", "top_k": 3, "held": "slots", "train_slots": 2}, "the 2 experts held"),
        ({"labels": ("one",)}, "1 label, expected 2 to 65,535"),
        (
            {"labels": ("a", "b\n")},
            'label 2 of 2, "b\\n", has over 200 bytes, or a character that ends a line',
        ),
        ({"labels": ("", "b")}, "label 1 of 2 is empty"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"tokens": (64, 3)}, "tokens 3: must be between 4 and 4194304"),
        ({"tokens": 10**9}, "tokens 1000000000: must be between 4 and 4194304"),
        ({"tiers": ((2, 64, 1),), "trunk": False}, "it needs the trunk, and all experts held"),
        ({"tiers": ((2, 64, 1),), "held": "slots"}, "it needs the trunk, and all experts held"),
        (
            {"tokens": 64, "task": "causal-lm"},
            "tokens 64: each window of a causal-lm fills a row of its own; say how",
        ),
    ],
)
def test_each_fault_says_what_is_allowed(changes: dict[str, object], said: str) -> None:
    """The message has the option, what came and the limits."""
    settings: dict[str, object] = {"device": "pixel8", "model": None, "labels": ("a", "b"), "out": Path("x")}
    with pytest.raises(ConfigError) as caught:
        ExportConfig(**{**settings, **changes})  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_layers() -> None:
    """All, the last N, or numbers in any order."""
    assert adapted_layers("all", 3) == (0, 1, 2)
    assert adapted_layers("last:2", 6) == (4, 5)
    assert adapted_layers("5,0,3", 6) == (0, 3, 5)


@pytest.mark.parametrize("text", ["last:0", "last:7", "6", "1,1", "-1", "", "some", "last:x"])
def test_layers_that_are_not_there(text: str) -> None:
    """The refusal says which numbers the backbone has."""
    with pytest.raises(ConfigError, match="numbers from 0 to 5"):
        adapted_layers(text, 6)


def _labels_of(path: Path, columns: Columns = USUAL, told: list[str] | None = None) -> tuple[str, ...]:
    return read_labels(None, read_examples(path, columns, (told if told is not None else []).append))


def test_labels_from_names_file_and_csv(tmp_path: Path) -> None:
    """Names and lines keep their order; a CSV's labels are sorted, so that the order of its rows does not matter."""
    lines, table = tmp_path / "labels.txt", tmp_path / "data.csv"
    lines.write_text("\ufeffspam\r\n\n#ham \n")
    table.write_text('\ufefftext,label,user\n"a, b",two,x\nc,one,y\nd,two,y\n,three,y\n')
    assert read_labels("b, a") == ("b", "a")
    many = tuple(f"label {number}" for number in range(5000))
    assert read_labels(",".join(many)) == many
    assert read_labels(str(lines)) == ("spam", "#ham")
    assert _labels_of(table) == ("one", "two")
    assert _labels_of(table, Columns("label", "user")) == ("x", "y")


def test_a_label_of_one_example_is_told(tmp_path: Path) -> None:
    """A comma without quotation marks made `world` a label; the row has as many fields as the header."""
    table, told = tmp_path / "data.csv", list[str]()
    table.write_text("text,label,user\na,spam,x\nb,spam,x\nhello, world,spam\nc,ham,y\nd,ham,y\n")
    assert _labels_of(table, told=told) == ("ham", "spam", "world")
    (sentence,) = told
    assert 'of 3 labels 1 has one example only: "world" (line 4); correct the file' in sentence
    table.write_text("text,label\na,spam\nb,ham\n")  # too few to call any of them rare
    assert _labels_of(table, told=told) == ("ham", "spam")
    table.write_text("text,label\na,spam\na,spam\nb,ham\nb,ham\n")
    assert _labels_of(table, told=told) == ("ham", "spam")
    assert len(told) == 1


def test_labels_files_that_are_refused(tmp_path: Path) -> None:
    """Nothing vanishes: what may be a comment or a label is asked about, and a name is no file."""
    path = tmp_path / "labels.txt"
    path.write_text("spam\n# of items\n")
    with pytest.raises(ConfigError, match="line 2 begins with '# ': is it a comment or a label"):
        read_labels(str(path))
    path.rename(tmp_path / "data.csv")
    with pytest.raises(ConfigError, match=r"data\.csv: a file of examples by its name; give it as data"):
        read_labels(str(tmp_path / "data.csv"), None)
    with pytest.raises(ConfigError, match=r"labels none\.txt: no such file, and no list either"):
        read_labels("none.txt")


def test_default_labels_are_those_of_the_demo() -> None:
    """Without an option the labels are the shipped assistant's intents."""
    labels = read_labels(None)
    assert "set_alarm" in labels
    assert len(labels) >= 15


def test_missing_default_labels_ask_for_an_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installation without the list says which options there are."""
    monkeypatch.setattr("export.planning.config.DEFAULT_LABELS", tmp_path / "none.txt")
    with pytest.raises(ConfigError, match="no labels: name them, or give data"):
        read_labels(None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"sentence,intent\nx,y\n",
            "the columns sentence, intent with commas between them in its first line, the header; expected text",
        ),
        (b"text,label\n", "has no examples"),
        (b"text,label\nhello, world,spam\n", "line 2: 3 fields, the header has 2"),
    ],
)
def test_csv_that_has_no_labels(tmp_path: Path, content: bytes, said: str) -> None:
    """A file without the columns, without rows or not in UTF-8 is refused by name."""
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        _labels_of(path)
    assert said in str(caught.value)
    assert "data.csv" in str(caught.value)


def test_csv_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is named."""
    with pytest.raises(DataError, match=r"cannot read .*none\.csv"):
        _labels_of(tmp_path / "none.csv")


def test_unknown_device_lists_the_known() -> None:
    """The refusal is the list that the user needs."""
    with pytest.raises(ConfigError, match="unknown device 'pixel9'; known: linux-x86_64, lowend-phone, pixel8, rasp"):
        load_profile("pixel9")


def test_every_shipped_profile_says_where_its_figures_come_from() -> None:
    """Each figure of a shipped profile has a source in a comment on its line, or is a default of the training."""
    from export.planning.profiles import FOLDER

    for name in profile_names():
        assert load_profile(name).name == name
        section = ""
        for line in (FOLDER / f"{name}.toml").read_text().splitlines():
            section = line if line.startswith("[") else section
            if section in ("[budget]", "[compute]") and "=" in line and not line.startswith("#"):
                assert any(word in line for word in ("vendor", "assumed", "derived", "measured")), f"{name}: {line}"


def test_profile_of_ones_own(tmp_path: Path) -> None:
    """The path of a TOML file is taken, too."""
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    assert load_profile(str(path)).budget.memory_mib == 100


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("memory_mib = 100\n", "", "[budget] must have"),
        ("threads = 2", "threads = 2.5", "[compute] threads = 2.5 is no positive integer"),
        ("seq_len = 16", "seq_len = 0", "[defaults] seq_len = 0"),
        ("storage_mb = 100", 'storage_mb = "much"', "is no positive number"),
        ('title = "Mine"', "title =", "cannot be read"),
        ('title = "Mine"', 'title = "Mine"\ncolour = 1', "also got"),
        ("[budget]", "[bud]", "[budget] must have"),
    ],
)
def test_damaged_profile_says_which_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A profile with a missing, unknown or wrong key is refused by the key's name."""
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_profile(str(path))
    assert said in str(caught.value)
