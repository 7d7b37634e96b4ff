"""A federation that continues texts: a tiny Llama, two devices with their own texts, rounds, perplexity, next words."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest
from loop_federation import Federation, call, command, environment, url_of

from edge_runtime import Model
from edge_runtime.errors import ConfigError
from edge_runtime.wire.errors import DataError

ADA = ("the cat sat on the mat", "the cat ate the fish")
BO = ("a dog ran in the park", "a dog ate the bone")
VOCABULARY = 300


def _write(path: Path, texts: tuple[str, ...], times: int) -> Path:
    path.write_text("\n".join(texts * times) + "\n", encoding="utf-8")
    return path


def _backbone(folder: Path) -> Path:
    """Write a random Llama of two layers, and a byte-level BPE that was trained on the devices' sentences."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([*ADA, *BO] * 20, VOCABULARY, show_progress=False, special_tokens=["<|endoftext|>"])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=48, max_position_embeddings=32, initializer_range=0.2, eos_token_id=0,
            tie_word_embeddings=True,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the package of the tiny Llama."""
    folder = tmp_path_factory.mktemp("language")
    line = command(
        "export.build", "--device", "raspberrypi5", "--task", "causal-lm", "-m", _backbone(folder / "llama"),
        "--experts", 2, "--train-slots", 2, "--rank", 4, "--shared-rank", 4, "--seq-len", 16, "--batch-size", 4,
        "-o", folder / "package", "--cache-dir", folder / "cache",
    )  # fmt: skip
    done = subprocess.run(line, env=environment(), cwd=folder, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "package"


def test_two_devices_teach_a_model_their_next_words(federation: Federation, package: Path) -> None:
    """Rounds run without class statistics; held-out perplexity falls; the bank continues a sentence of a device.

    Ada has a file, and Bo has its texts in memory.
    """
    held_out = _write(federation.folder / "held-out.txt", ADA + BO, 3)
    gateway = federation.gateway(package, "--rounds", "3", "--steps", "40", "--evaluate", held_out)
    ada = federation.device("ada", package, _write(federation.folder / "ada.txt", ADA, 20), url_of(gateway))
    with Model.open(package, threads=1) as model:
        joined = model.join(url_of(gateway), BO * 20, device="bo", state=federation.folder / "bo")
        assert (joined.rounds, joined.version) == (3, 3)
    for running in (ada, gateway):
        running.done()
    assert not gateway.events("statistics")
    assert all(not hello["want_statistics"] for hello in gateway.events("hello"))
    versions = federation.ask("versions")["versions"]
    assert [(row["version"], row["reason"]) for row in versions] == [
        (0, "initial"),
        (1, "merge"),
        (2, "merge"),
        (3, "merge"),
    ]
    perplexities = [row["evaluations"][0]["perplexity"] for row in versions]
    assert perplexities[0] > 100
    assert perplexities[-1] < 0.2 * perplexities[0]
    measured = federation.ask("evaluate", "--data", held_out, "--version", "3")[0]
    assert measured["perplexity"] == pytest.approx(perplexities[-1], rel=1e-3)
    _check_exported(federation, package, held_out, measured["loss"])


def _check_exported(federation: Federation, package: Path, held_out: Path, loss: float) -> None:
    """What the gateway exports, a device measures alike and continues sentences with."""
    bank = federation.folder / "bank"
    federation.ask("export", "--version", "3", "--out", bank)
    options = ("predict", "--package", package, "--bank", bank)
    scored = call("edge_runtime", *options, "--data", held_out, folder=federation.folder)
    assert scored.returncode == 0, scored.stderr
    words = scored.stdout.split()
    assert math.log(float(words[1])) == pytest.approx(loss, abs=0.1)
    written = call("edge_runtime", *options, "--max-new-tokens", 12, "a dog", folder=federation.folder)
    assert written.stdout.startswith("a dog")
    assert len(written.stdout.split()) > 2
    drawn = [
        call("edge_runtime", *options, "--temperature", 0.7, "--seed", 3, "the cat", folder=federation.folder).stdout
        for _ in range(2)
    ]
    assert drawn[0] == drawn[1]
    suggested = call("edge_runtime", *options, "--suggest", 3, "the cat", folder=federation.folder)
    assert len(suggested.stdout.split("\t")) == 6


def test_one_device_alone_trains_and_scores(federation: Federation, package: Path) -> None:
    """`train` tells perplexity before and after, and the bank says what it was taught; a head to start is refused."""
    mine, test = (
        _write(federation.folder / "mine.txt", ADA, 20),
        _write(federation.folder / "test.csv", ("text", *ADA), 1),
    )
    common = ("train", "--package", package, "--data", mine, "--steps", 200, "--lr", 0.01)
    bank = federation.folder / "taught"
    done = call("edge_runtime", *common, "--test", test, "--out", bank, folder=federation.folder)
    assert done.returncode == 0, done.stderr
    before, after = done.stdout.split("perplexity ")[1].split(";")[0].split(" -> ")
    assert float(after) < 0.2 * float(before)
    options = ("predict", "--package", package, "--bank", bank, "the cat sat")
    assert call("edge_runtime", *options, folder=federation.folder).stdout == "the cat sat on the mat\n"
    refused = call("edge_runtime", *common, "--head", "class-means", folder=federation.folder)
    assert refused.returncode != 0
    assert "it has no head to start" in refused.stderr


def test_texts_in_memory_teach_as_a_file_of_them_does(tmp_path: Path, package: Path) -> None:
    """The same bank and the same perplexity, to the bit; labels are refused, since there is nothing to label."""
    file = _write(tmp_path / "own.txt", ADA, 8)
    with Model.open(package, threads=1) as model:
        with pytest.raises(ConfigError, match="labels came, and this package continues texts"):
            model.train(ADA, ["cat", "cat"], steps=2)
        with pytest.raises(DataError, match="the texts have no two tokens"):
            model.evaluate(["", " "])
        from_file = model.train(csv=file, steps=12, learning_rate=0.01)
        measured = model.evaluate(csv=file)
    with Model.open(package, threads=1) as model:
        untaught = model.evaluate(ADA)
        from_memory = model.train([*ADA * 8, " "], steps=12, learning_rate=0.01)
        assert model.evaluate([f" {text}\n" for text in ADA * 8]) == measured
        taught = model.evaluate(ADA)
    assert from_memory.bank_digest == from_file.bank_digest
    assert (from_memory.losses, from_memory.skipped) == (from_file.losses, 1)
    assert untaught.perplexity is not None
    assert taught.perplexity is not None
    assert taught.perplexity < 0.8 * untaught.perplexity
