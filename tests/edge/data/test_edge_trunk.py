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
from edge_runtime.wire.bank import Bank
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


def trunk_of(tools: Tools, bank: Bank | None = None) -> Trunk:
    """Return the trunk of the tier, with the toy's bank below it unless another is named."""
    trunk = tools.trunk(toy.initial_bank() if bank is None else bank)
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


# --- above experts that change --------------------------------------------------------------------------------------


def changed_at(row: int) -> Bank:
    """Return the toy's bank with another first expert in a layer: 0 is below the tier of the top layer, 1 is in it."""
    bank = toy.initial_bank()
    bank.experts[row, 0] += np.float32(0.25)
    return bank


def top_of(tools: Tools) -> Tools:
    """Return the same in the tier of the top layer, which its package then has."""
    return replace(tools, tier=toy.TOP, manifest=replace(tools.manifest, tiers=(*toy.TIERS, toy.TOP)))


def test_a_prefix_belongs_to_the_version_of_the_layers_below(tools: Tools) -> None:
    """Another expert below gives another prefix, never found for the first; one in the layers above gives the same."""
    top, texts = top_of(tools), ["wake me", "play song now"]
    first = trunk_of(top).of_texts(texts, tools.tokenizer)
    assert computed(tools) == 2
    other = trunk_of(top, changed_at(0)).of_texts(texts, tools.tokenizer)
    assert computed(tools) == 4
    assert all(one.data != two.data for one, two in zip(first, other, strict=True))
    assert trunk_of(top, changed_at(1)).of_texts(texts, tools.tokenizer) == first
    assert computed(tools) == 4


def test_prefixes_of_older_versions_are_removed_when_training_begins(tools: Tools, tmp_path: Path) -> None:
    """Those of the version at hand stay, as do those that no version changes, and those of another package."""
    top, texts = top_of(tools), ["wake me", "play song now"]
    files = {name: replace(entry, sha256="9" * 64) for name, entry in top.manifest.files.items()}
    neighbour = replace(top, manifest=replace(top.manifest, files=files))
    trunk_of(tools).of_texts(texts[:1], tools.tokenizer)
    trunk_of(neighbour).of_texts(texts[:1], tools.tokenizer)
    for bank in (toy.initial_bank(), changed_at(0)):
        trunk_of(top, bank).of_texts(texts, tools.tokenizer)
    assert len(list((tmp_path / "prefixes").iterdir())) == 6
    task = Task((ExpertId(3, 0),), steps=1, learning_rate=0.05)
    Trainer(top, changed_at(0), task)
    assert len(list((tmp_path / "prefixes").iterdir())) == 4
    before = computed(tools)
    trunk_of(top, changed_at(0)).of_texts(texts, tools.tokenizer)
    trunk_of(tools).of_texts(texts[:1], tools.tokenizer)
    trunk_of(neighbour).of_texts(texts[:1], tools.tokenizer)
    assert computed(tools) == before
    assert tools.cache is not None
    assert tools.cache.use.bytes == sum(path.stat().st_blocks * 512 for path in (tmp_path / "prefixes").iterdir())


def test_the_top_layer_trains_alike_from_its_cache_and_without(tools: Tools) -> None:
    """Each text goes through the trunk once a version: 24 texts, two epochs; off, the bytes are the same."""
    top, task = top_of(tools), Task((ExpertId(3, 0), ExpertId(3, 1)), steps=12, learning_rate=0.05, seed=5)
    kept = finish(Trainer(top, toy.initial_bank(), task))
    assert computed(tools) == len(set(tools.source.texts(range(24))))
    off = finish(Trainer(replace(top, cache=None), toy.initial_bank(), task))
    assert kept.losses == off.losses
    assert all(kept.blocks[block].tobytes() == off.blocks[block].tobytes() for block in task.train)


class Ticks:
    """A clock that a program moves: 10 ms a call of a trunk, 7 ms a step."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return seconds."""
        return self.now


class Timed(toy.ToyProgram):
    """Takes time."""

    def __init__(self, clock: Ticks) -> None:
        super().__init__()
        self.clock = clock

    def execute(self, method: str, inputs: toy.Arrays) -> toy.Arrays:
        """Let the time of a call pass."""
        self.clock.now += 0.010 if method.startswith("trunk") else 0.007
        return super().execute(method, inputs)


def test_a_step_and_its_trunk_are_timed_apart(tools: Tools) -> None:
    """7 ms a step; 24 texts, three a call of 10 ms, the first call not counted; four texts to a step."""
    clock = Ticks()
    top = replace(top_of(tools), program=Timed(clock), clock=clock, cache=None)
    trainer = Trainer(top, toy.initial_bank(), Task((ExpertId(3, 0),), steps=6, learning_rate=0.05))
    assert trainer.pace is None
    finish(trainer)
    assert trainer.pace is not None
    assert trainer.pace.step_ms == pytest.approx(7.0)
    assert trainer.pace.trunk_ms == pytest.approx(4 * 10 / 3)
    trainer.switch(toy.TIERS[1])
    assert trainer.pace is None


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
