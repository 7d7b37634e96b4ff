"""The command as its users meet it: output, errors on one line, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from export.build import main, parser

COMMON = ["--device", "linux-x86_64", "--experts", "3", "--train-slots", "2", "--rank", "4", "--shared-rank", "3"]
SMALL = [*COMMON, "--seq-len", "12", "--batch-size", "4", "--quantize", "none", "--labels", "red,green,blue"]


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(arguments)
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.splitlines() if not line.startswith("export: load")]
    assert len(lines) == 1, lines
    return code, lines[0]


def test_build_prints_a_table_or_json(
    tiny: Path, programs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """People get memory, storage, time and bytes against the budget, and how full steps are; machines one JSON object.

    Two of 29 texts with 6 tokens fill a row of 12. One has 13, is cut and fills a row: its step takes three texts, and
    so does the step before where it would have been the fourth.
    """
    data = tmp_path / "data.csv"
    texts = ["word1 " * 6] * 29 + ["word2 " * 13]
    rows = [f"{text},{('red', 'green', 'blue')[number % 3]}" for number, text in enumerate(texts)]
    data.write_text("\n".join(["text,label", *rows, ""]))
    arguments = [*SMALL[:-2], "--data", str(data), "--model", str(tiny), "--out", str(tmp_path / "p")]
    arguments += ["--cache-dir", str(programs)]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    for word in (
        "memory, MiB",
        "storage, MB",
        "training step, ms",
        "up a round, kB",
        "budget",
        "proof: gradients",
        "texts: on 121",
        "up to 4 texts a step in 2 rows of 12 tokens",
        "data: rows of 12 tokens: 1 of 30 texts (3.3 %) is longer and is cut; 6.2 tokens a text in the mean",
        "fill of train_m2_f1_s12_r2_b4: 3.8 texts a step, 99% of its places hold tokens",
    ):
        assert word in " ".join(shown.out.split())  # lines fold where the console ends
    assert "export: count the tokens of 30 texts\n" in shown.err
    assert "export: write the package" in shown.err
    assert main([*arguments, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["from_cache"] is True
    assert (figures["tier"]["trained_slots"], figures["tier"]["rows"]) == (2, 2)
    assert figures["rows"]["data"] == {"texts": 30, "longer": 1, "mean_tokens": 6.2}
    assert figures["rows"]["steps"]["train_m2_f1_s12_r2_b4"]["texts_per_step"] == pytest.approx(3.84)
    assert figures["measured"]["storage_mb"] < figures["budget"]["storage_mb"]
    assert len(figures["federation_digest"]) == 64


def test_list_devices(capsys: pytest.CaptureFixture[str]) -> None:
    """Every profile on one line with its budgets, or as JSON."""
    assert main(["--list-devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "512 MiB memory" in next(line for line in lines if line.startswith("pixel8"))
    assert main(["--list-devices", "--json"]) == 0
    assert {profile["name"] for profile in json.loads(capsys.readouterr().out)} >= {"pixel8", "raspberrypi5"}


def test_help_has_examples() -> None:
    """--help shows commands to copy, and the exit codes."""
    text = parser().format_help()
    assert "python -m export.build --device pixel8" in text
    assert "exit codes: 0 done" in text


def test_unknown_device_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, and the list of the known."""
    code, line = _refused(["--device", "pixel99"], capsys)
    assert code == 2
    assert line.startswith("export: unknown device 'pixel99'; known: linux-x86_64, lowend-phone, pixel8, raspberrypi5")


def test_faults_are_told_with_the_options_that_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    """The text has the names of ``build_package``, which a command spells otherwise."""
    words = ["--device", "pixel8", "--labels", "a,b", "--train-slots", "9", "--tiers", "2x64x1", "--no-trunk"]
    code, line = _refused(words, capsys)
    assert code == 2
    assert line.startswith("export: train_slots 9: must be between 1 and 8; tiers, slots and tokens of each, say all ")
    assert line.endswith(" all experts held (--train-slots, --tiers, --seq-len, --no-trunk, --held)")


def test_the_recipe_is_xnnpack(capsys: pytest.CaptureFixture[str]) -> None:
    """Optimum-executorch's option is taken by the one name that there is; others are refused with it."""
    assert parser().parse_args(["--recipe", "xnnpack"]).recipe == "xnnpack"
    with pytest.raises(SystemExit) as caught:
        main(["--device", "pixel8", "--recipe", "coreml"])
    assert caught.value.code == 2
    assert "argument --recipe: invalid choice: 'coreml' (choose from" in capsys.readouterr().err


def test_no_device_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a device the usage says which there are."""
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "--device is needed; known: linux-x86_64" in capsys.readouterr().err


def test_profile_too_small_fails_with_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1; memory needed and there stand in the message."""
    from export.planning.profiles import FOLDER

    path = tmp_path / "watch.toml"
    path.write_text((FOLDER / "pixel8.toml").read_text().replace("memory_mib = 512", "memory_mib = 64"))
    code, line = _refused(["--device", str(path), "--labels", "a,b", "--out", str(tmp_path / "p")], capsys)
    assert code == 1
    assert (
        "nothing fits; even 1 trained slot(s) with 4 texts in 2 rows of 64 tokens, recompute light with 2 micro-b"
        in line
    )
    assert "needs memory 1" in line
    assert "of 64 MiB" in line


def test_csv_without_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The refusal has the columns that are there and those expected."""
    path = tmp_path / "data.csv"
    path.write_text("sentence,intent\nx,y\n")
    code, line = _refused(["--device", "pixel8", "--data", str(path)], capsys)
    assert code == 1
    assert "the columns sentence, intent with commas between them in its first line, the header; expected text" in line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--layers", "9"], "numbers from 0 to 2"),
        (["--seq-len", "64"], "seq_len 64: "),
        (["--experts", "0"], "experts 0: "),
    ],
)
def test_options_that_do_not_fit_the_backbone(
    tiny: Path, capsys: pytest.CaptureFixture[str], change: list[str], said: str
) -> None:
    """Bad usage names the option and what the backbone takes."""
    code, line = _refused([*SMALL, "--model", str(tiny), *change], capsys)
    assert code == 2
    assert said in line


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--tokens", "many", "came 'many'; expected whole numbers joined by commas, such as 32,64"),
        ("--seq-len", "32;64", "came '32;64'; expected whole numbers joined by commas"),
        ("--tiers", "8x", "came '8x'; expected slots x tokens, or slots x tokens x layers, joined by commas, such as"),
    ],
)
def test_lists_of_numbers_that_are_none(
    capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str
) -> None:
    """Usage with what came and an example."""
    with pytest.raises(SystemExit) as caught:
        main(["--device", "pixel8", option, value])
    assert caught.value.code == 2
    assert f"argument {option}" in (shown := capsys.readouterr().err)
    assert expected in shown


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        ("11", "tokens 11: a row holds one text of up to 12 tokens; give 12 or more"),
        ("49", "tokens 49: 4 texts of at most 12 tokens fill 48 places; give that or less"),
        ("-5", "tokens -5: must be between 4 and 4194304"),
    ],
)
def test_tokens_that_make_no_sense(tiny: Path, capsys: pytest.CaptureFixture[str], tokens: str, said: str) -> None:
    """Bad usage, in one line with the numbers."""
    code, line = _refused([*SMALL, "--model", str(tiny), f"--tokens={tokens}"], capsys)
    assert code == 2
    assert said in line


def test_models_that_cannot_be_used(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An unknown architecture, a missing folder, a missing file, damaged weights: each by name, exit 1."""
    config = json.loads((tiny / "config.json").read_text())

    def refuse(model: Path | str, said: str) -> None:
        code, line = _refused([*SMALL, "--model", str(model)], capsys)
        assert code == 1
        assert said in line

    refuse(tmp_path / "none", "neither a folder nor a hub id")
    refuse(tmp_path, "has no readable config.json")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "mamba"}))
    refuse(folder, "model type 'mamba' (BertModel) is not supported; supported: bert, distilbert, llama")
    (folder / "config.json").write_text("[]")
    refuse(folder, "is no JSON object")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refuse(folder, 'config.json is not complete (Could not find the attribute named "hidden_size"')
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder, "has no tokenizer.json")
    (folder / "tokenizer.json").write_text("{}")
    refuse(folder, "is no tokenizer ('model'); copy the model again")
    (folder / "tokenizer.json").write_text((tiny / "tokenizer.json").read_text())
    refuse(folder, "has no model.safetensors")
    (folder / "model.safetensors").write_bytes(b"\x05\0\0\0\0\0\0\0{bad}")
    refuse(folder, "is no readable safetensors file")
    (folder / "model.safetensors").write_bytes((tiny / "model.safetensors").read_bytes()[:-100])
    refuse(folder, "is no readable safetensors file")


def test_hub_id_without_a_network_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub id that cannot be fetched ends with a hint, not a traceback."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, line = _refused([*SMALL, "--model", "nobody/nothing-of-this-name"], capsys)
    assert code == 1
    assert "model nobody/nothing-of-this-name: no such folder, and the hub gave nothing" in line


def test_out_that_is_no_package(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with other things in it is not touched."""
    (tmp_path / "thesis.txt").write_text("x")
    code, line = _refused([*SMALL, "--model", str(tiny), "--out", str(tmp_path)], capsys)
    assert code == 1
    assert "is a folder with other things in it" in line


def test_interruption_ends_with_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.build.build_package", interrupt)
    code, line = _refused(["--device", "pixel8", "--labels", "a,b"], capsys)
    assert code == 1
    assert line == "export: interrupted; no package was written, finished parts stay in the cache"
