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
from edge_runtime.data.packed import Packed, tier_capacity
from edge_runtime.data.prefix_cache import PrefixCache
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.data.trunk import Prefix, Trunk, decode, encode, tokens_in
from edge_runtime.store import Record, pack
from edge_runtime.training.trainer import Checkpoint, Outcome, Task, Tools, Trainer
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.packing import Capacity, Stand
from edge_runtime.wire.tensors import Array

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


def computed(tools: Tools) -> int:
    """Return how many texts the program's trunk methods computed."""
    program = tools.program
    assert isinstance(program, toy.ToyProgram)
    return program.prefixes


def trunk_of(tools: Tools) -> Trunk:
    """Return the trunk of the tier."""
    trunk = tools.trunk
    assert trunk is not None
    return trunk


def test_the_second_epoch_runs_no_trunk(tools: Tools) -> None:
    """Every text goes through the trunk once; texts that are equal share an entry."""
    finish(Trainer(tools, toy.initial_bank(), TASK))
    assert computed(tools) == len(set(tools.source.texts(range(24))))
    finish(Trainer(tools, toy.initial_bank(), TASK))
    assert computed(tools) == len(set(tools.source.texts(range(24))))


def test_a_text_in_the_cache_is_not_cut_into_tokens_again(tools: Tools) -> None:
    """Its prefix says how many tokens it has; by its text or by its tokens, the same bytes."""
    trunk, texts = trunk_of(tools), ["wake me", "play song now"]
    first = trunk.of_texts(texts, tools.tokenizer)
    assert [prefix.count for prefix in first] == [4, 5]
    assert trunk.of_tokens(tools.tokenizer.encode(texts, toy.S)) == first
    assert trunk.of_texts(texts, cast("Tokenizer", None)) == first


def test_texts_of_a_length_are_computed_together_by_the_shortest_method_that_holds_them(tools: Tools) -> None:
    """Four texts of at most 8 tokens, three at once: two calls; one of 9 tokens: one. Company changes no byte."""
    texts = ["wake me", "play", "rain sun now", "at seven", "wake me at seven please play song"]
    together = trunk_of(tools).of_texts(texts, tools.tokenizer)
    program = tools.program
    assert isinstance(program, toy.ToyProgram)
    assert program.calls == ["trunk_s8_r3", "trunk_s8_r3", "trunk_s16_r3"]
    fresh = Trunk(program, tools.manifest, toy.CUT, None, "int8")
    assert [fresh.of_texts([text], tools.tokenizer)[0] for text in texts] == together


def test_a_text_without_tokens_has_an_empty_prefix(tools: Tools) -> None:
    """It is neither computed nor kept, and takes no place."""
    trunk = trunk_of(tools)
    assert trunk.of_tokens([[]]) == [Prefix(0, b"")]
    assert computed(tools) == 0
    packed = Packed.next([0], tier_capacity(toy.CUT))
    assert not trunk.spread([Prefix(0, b"")], packed)["prefix"].any()


def test_another_tokenizer_finds_nothing_by_the_text(tools: Tools) -> None:
    """It would cut the text into other tokens."""
    trunk_of(tools).of_texts(["wake me"], tools.tokenizer)
    files = tools.manifest.files
    entry = replace(files["tokenizer.json"], sha256="9" * 64)
    other = trunk_of(replace(tools, manifest=replace(tools.manifest, files={**files, "tokenizer.json": entry})))
    other.of_texts(["wake me"], tools.tokenizer)
    assert computed(tools) == 2


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
    before = computed(tools)
    assert same(finish(Trainer(tools, toy.initial_bank(), TASK)), whole)
    assert computed(tools) == before + 2


def test_another_program_length_or_rounding_has_other_entries(tools: Tools) -> None:
    """Nothing is found that was computed by other weights, cut elsewhere or rounded in another way."""
    trunk_of(tools).of_tokens([[2, 4, 5, 3]])
    files = {name: replace(entry, sha256="9" * 64) for name, entry in tools.manifest.files.items()}
    other = replace(tools.manifest, files=files)
    shorter = replace(toy.CUT, seq_len=8)
    for changed in (
        replace(tools, manifest=other),
        replace(tools, rounding="fp16"),
        replace(tools, tier=shorter),
        replace(tools, tier=replace(toy.CUT, trunk_methods=toy.CUT.trunk_methods[1:])),
    ):
        trunk = trunk_of(changed)
        before = trunk.use.hits
        trunk.of_tokens([[2, 4, 5, 3]])
        assert trunk.use.hits == before


def test_padding_is_neither_kept_nor_read(tools: Tools, tmp_path: Path) -> None:
    """A text of four tokens: two tensors of 4 x 6 values, int8 with 3 scales of two values each, and the seal."""
    trunk = trunk_of(tools)
    prefixes = trunk.of_texts(["wake me"], tools.tokenizer)
    assert [prefix.count for prefix in prefixes] == [4]
    packed = Packed(Capacity(2, 6, 1), (Stand(1, 2, 4),))
    values = trunk.spread(prefixes, packed)
    for name in ("prefix", "residual"):
        assert values[name].shape == (2, 6, 6)
        assert not values[name][0].any()
        assert not values[name][1, :2].any()
        assert values[name][1, 2:].any(axis=1).all()
    (entry,) = (tmp_path / "prefixes").iterdir()
    assert entry.stat().st_size == 40 + 2 * 4 * 6 + 2 * 4 * 3 * 4


def test_no_text_is_stored(tools: Tools, tmp_path: Path) -> None:
    """Neither words nor token ids stand in names or contents."""
    finish(Trainer(tools, toy.initial_bank(), TASK))
    for path in (tmp_path / "prefixes").iterdir():
        data = path.name.encode() + path.read_bytes()
        assert not any(word.encode() in data for word in toy.WORDS if len(word) > 3)
        (ids,) = tools.tokenizer.encode(tools.source.texts([0]), toy.S)
        assert np.array(ids[1:4], np.int64).tobytes() not in data


def rounded(values: Array, rounding: str) -> Array:
    """Return what comes back of values [2, n, d]."""
    data = encode(values, rounding)
    assert tokens_in(data, values.shape[-1], rounding) == values.shape[1]
    assert tokens_in(data[:-1], values.shape[-1], rounding) == 0
    back = np.empty_like(values)
    decode(data, rounding, back)
    return back


def test_int8_keeps_each_value_to_half_a_step_of_its_group() -> None:
    """An outlier costs its own 64 values only: 127 in the second group leaves steps of 1/127 in the first."""
    values = np.linspace(-1, 1, 256, dtype=np.float32).reshape(2, 1, 128).copy()
    values[1, 0, 127] = 127.0
    decoded = rounded(values, "int8")
    error = np.abs(decoded - values)
    assert error[0].max() <= 0.5 / 127 + 1e-6
    assert error[1, 0, :64].max() <= 0.5 / 127 + 1e-6
    assert error[1, 0, 64:].max() <= 0.5
    assert decoded[1, 0, 127] == 127.0


def test_fp16_keeps_large_values_finite() -> None:
    """70,000 is beyond float16: it is kept as its largest number."""
    assert rounded(np.full((2, 1, 2), 70_000, np.float32), "fp16").max() == 65504.0
