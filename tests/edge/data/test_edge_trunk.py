"""Training above cached prefixes: the same bytes, whatever the cache holds."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import toy

from edge_runtime.data.examples import open_source
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.trunk import Trunk, decode, encode
from edge_runtime.store import Record, pack
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.wire.experts import ExpertId

TASK = Task((ExpertId(1, 0), ExpertId(3, 1)), steps=12, learning_rate=0.05, seed=5)


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    """The toy with a trunk and a cache: 24 examples in batches of 4, so 12 steps are two epochs."""
    package = toy.write_package(tmp_path / "package")
    source = open_source(toy.write_data(tmp_path / "data.csv"), toy.LABELS)
    tokenizer = Tokenizer(package.path("tokenizer.json"))
    return Tools(toy.ToyProgram(), package.manifest, tokenizer, source, toy.CUT, cache=cache(tmp_path))


def cache(folder: Path, limit_mb: float = 1.0) -> PrefixCache:
    """Open the cache in ``folder``."""
    return PrefixCache(folder / "prefixes", limit_mb, pytest.fail)


def finish(trainer: Trainer) -> Outcome:
    """Make all steps that are left."""
    while not trainer.done:
        trainer.step()
    return trainer.outcome()


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two runs gave the same bytes."""
    blocks = all(one.blocks[block].tobytes() == other.blocks[block].tobytes() for block in TASK.train)
    return blocks and one.losses == other.losses


def calls(tools: Tools, method: str) -> int:
    """Return how often the program ran a method."""
    program = tools.program
    assert isinstance(program, toy.ToyProgram)
    return program.calls.count(method)


def test_the_second_epoch_runs_no_trunk(tools: Tools) -> None:
    """Every text goes through the trunk once; texts that are equal share an entry."""
    finish(Trainer(tools, toy.initial_bank(), TASK))
    texts = set(tools.source.texts(range(24)))
    assert calls(tools, "trunk_s8") == len(texts)
    assert tools.cache is not None
    assert (tools.cache.use.misses, tools.cache.use.hits) == (len(texts), 48 - len(texts))


def test_a_text_in_the_cache_is_not_cut_into_tokens_again(tools: Tools) -> None:
    """Prefixes and mask are then the same bytes, from the cache alone."""
    trunk, texts = tools.trunk, ["wake me", "play song now"]
    assert trunk is not None
    first = trunk.of_texts(texts, tools.tokenizer, toy.S)
    ids, mask = tools.tokenizer.encode(texts, toy.S)
    assert first["mask"].tobytes() == mask.tobytes()
    assert first["prefix"].tobytes() == trunk(ids, mask)["prefix"].tobytes()
    again = trunk.of_texts(texts, cast("Tokenizer", None), toy.S)
    assert {name: array.tobytes() for name, array in again.items()} == {
        name: array.tobytes() for name, array in first.items()
    }


def test_another_tokenizer_finds_nothing_by_the_text(tools: Tools) -> None:
    """It would cut the text into other tokens."""
    trunk = tools.trunk
    assert trunk is not None
    trunk.of_texts(["wake me"], tools.tokenizer, toy.S)
    files = tools.manifest.files
    entry = replace(files["tokenizer.json"], sha256="9" * 64)
    other = replace(tools, manifest=replace(tools.manifest, files={**files, "tokenizer.json": entry})).trunk
    assert other is not None
    before = calls(tools, "trunk_s8")
    other.of_texts(["wake me"], tools.tokenizer, toy.S)
    assert calls(tools, "trunk_s8") == before + 1


def test_trunk_and_cut_step_learn_what_the_whole_step_learns(tools: Tools) -> None:
    """Up to the rounding of prefixes: fp16 changes losses by less than 1 in 1,000, int8 by less than 2 in 100."""
    whole = finish(Trainer(replace(tools, tier=toy.TIERS[1]), toy.initial_bank(), TASK)).losses
    for rounding, limit in (("fp16", 1e-3), ("int8", 2e-2)):
        losses = finish(Trainer(replace(tools, rounding=rounding), toy.initial_bank(), TASK)).losses
        assert losses == pytest.approx(whole, rel=limit)


@pytest.mark.parametrize("rounding", ["int8", "fp16"])
def test_a_resumed_run_ends_with_the_same_bits_without_its_cache(tools: Tools, tmp_path: Path, rounding: str) -> None:
    """Killed in the second epoch, the cache deleted, off, or as it was: all end like the run that was not."""
    tools = replace(tools, rounding=rounding)
    whole = finish(Trainer(tools, toy.initial_bank(), TASK))
    assert same(whole, finish(Trainer(replace(tools, cache=None), toy.initial_bank(), TASK)))
    for left in ("as it was", "deleted", "off"):
        first = Trainer(tools, toy.initial_bank(), TASK)
        for _ in range(8):
            first.step()
        saved = first.checkpoint()
        if left == "deleted":
            shutil.rmtree(tmp_path / "prefixes")
        record = Record(dict(saved.numbers), pack(saved.tensors))
        again = replace(tools, program=toy.ToyProgram(), cache=cache(tmp_path, 0 if left == "off" else 1))
        second = Trainer(again, toy.initial_bank(), TASK)
        second.restore(Checkpoint(record.tensors(), record.head))
        assert same(finish(second), whole), left


def test_damaged_entries_are_computed_again_and_change_nothing(tools: Tools, tmp_path: Path) -> None:
    """One is cut off, one holds another text's length: sealed, but not what this text needs."""
    whole = finish(Trainer(tools, toy.initial_bank(), TASK))
    first, second, *_ = sorted((tmp_path / "prefixes").iterdir())
    first.write_bytes(first.read_bytes()[:-5])
    assert tools.cache is not None
    tools.cache.put(bytes.fromhex(second.name), b"sealed, but short")
    before = calls(tools, "trunk_s8")
    assert same(finish(Trainer(tools, toy.initial_bank(), TASK)), whole)
    assert calls(tools, "trunk_s8") == before + 2


def test_another_program_length_or_rounding_has_other_entries(tools: Tools) -> None:
    """Nothing is found that was computed by other weights or rounded in another way."""
    ids, mask = tools.tokenizer.encode(["wake me"], toy.S)
    trunk = tools.trunk
    assert trunk is not None
    trunk(ids, mask)
    files = {name: replace(entry, sha256="9" * 64) for name, entry in tools.manifest.files.items()}
    other = replace(tools.manifest, files=files)
    for changed in (replace(tools, manifest=other), replace(tools, rounding="fp16")):
        changed_trunk = changed.trunk
        assert changed_trunk is not None
        before = changed_trunk.use.hits
        changed_trunk(ids, mask)
        assert changed_trunk.use.hits == before


def test_padding_is_neither_kept_nor_read(tools: Tools, tmp_path: Path) -> None:
    """A text of four tokens: two tensors of 4 x 6 values, int8 with 3 scales of two values each, and the seal."""
    ids, mask = tools.tokenizer.encode(["wake me"], toy.S)
    assert mask.sum() == 4
    trunk = tools.trunk
    assert trunk is not None
    prefixes = trunk(ids, mask)
    assert not prefixes["prefix"][0, 4:].any()
    assert prefixes["prefix"][0, :4].any()
    (entry,) = (tmp_path / "prefixes").iterdir()
    assert entry.stat().st_size == 40 + 2 * 4 * 6 + 2 * 4 * 3 * 4


def test_no_text_is_stored(tools: Tools, tmp_path: Path) -> None:
    """Neither words nor token ids stand in names or contents."""
    finish(Trainer(tools, toy.initial_bank(), TASK))
    for path in (tmp_path / "prefixes").iterdir():
        data = path.name.encode() + path.read_bytes()
        assert not any(word.encode() in data for word in toy.WORDS if len(word) > 3)
        ids, _ = tools.tokenizer.encode(tools.source.texts([0]), toy.S)
        assert ids[0, 1:4].tobytes() not in data


def test_int8_keeps_each_value_to_half_a_step_of_its_group() -> None:
    """An outlier costs its own 64 values only: 127 in the second group leaves steps of 1/127 in the first."""
    values = np.linspace(-1, 1, 256, dtype=np.float32).reshape(2, 1, 128).copy()
    values[1, 0, 127] = 127.0
    decoded = decode(encode(values, "int8"), 128, "int8")
    assert decoded is not None
    error = np.abs(decoded - values)
    assert error[0].max() <= 0.5 / 127 + 1e-6
    assert error[1, 0, :64].max() <= 0.5 / 127 + 1e-6
    assert error[1, 0, 64:].max() <= 0.5
    assert decoded[1, 0, 127] == 127.0


def test_fp16_keeps_large_values_finite() -> None:
    """70,000 is beyond float16: it is kept as its largest number."""
    decoded = decode(encode(np.full((2, 1, 2), 70_000, np.float32), "fp16"), 2, "fp16")
    assert decoded is not None
    assert decoded.max() == 65504.0


def test_equal_rows_give_equal_prefixes_in_any_company(tools: Tools) -> None:
    """A text's prefix is computed alone: batches cannot change it."""
    ids, mask = tools.tokenizer.encode(["wake me", "play song now", "wake me"], toy.S)
    trunk = Trunk(tools.program, tools.manifest, "trunk_s8", None, "int8")
    prefixes = trunk(ids, mask)
    assert prefixes["residual"][0].tobytes() == prefixes["residual"][2].tobytes()
    assert prefixes["residual"][0].tobytes() == trunk(ids[2:], mask[2:])["residual"][0].tobytes()
