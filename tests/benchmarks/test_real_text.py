"""Real texts: drawn lengths, useful work, energy, batches as PyTorch users make them, and the arms' arithmetic."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_text import (
    ABOUT,
    accuracy,
    arms,
    energy,
    figures,
    learning,
    measured,
    page,
    sets,
    sorted_batches,
    tables,
    useful,
    work,
)
from benchmarks.real_text import __main__ as command
from benchmarks.real_text.learning import Curve
from edge_runtime.wire.order import epoch_order

ROOT = Path(__file__).parents[2]
LITTLE = useful.Encoder(depth=3, width=2, inner=5)
"""A layer multiplies a token by 4 * 2 * 2 = 16 and 2 * 2 * 5 = 20 values."""


def test_useful_work_of_all_layers_is_all_forward_and_all_but_the_lowest_backward() -> None:
    """36 a layer: three forward, two backward, two operations each."""
    assert useful.per_token(LITTLE, 0) == 2 * (3 * 36 + 2 * 36)


def test_useful_work_of_the_last_layers_has_one_backward_less_than_layers_are_adapted() -> None:
    """Layers 1 and 2 adapted: three forward and one backward; cached: layer 1's feed-forward, layer 2 twice."""
    assert useful.per_token(LITTLE, 1) == 2 * (3 * 36 + 36)
    assert useful.per_token(LITTLE, 1, cached=True) == 2 * (20 + 2 * 36)


def test_useful_work_of_lora_lacks_three_products_of_the_first_layer_backward() -> None:
    """Q, k and v of the lowest layer read what nothing is trained below."""
    assert useful.lora_per_token(LITTLE) == 2 * (6 * 36 - 3 * 4)


def powercap(folder: Path, *microjoules: int) -> Path:
    """Write packages' counters, and a part of the first one, as Linux has them."""
    for number, count in enumerate(microjoules):
        for zone in (f"intel-rapl:{number}", f"intel-rapl:{number}:0"):
            (folder / zone).mkdir(parents=True, exist_ok=True)
            (folder / zone / "energy_uj").write_text(f"{count}\n")
            (folder / zone / "max_energy_range_uj").write_text("1000000\n")
    return folder


def test_joules_are_summed_over_packages_and_a_counter_begins_again(tmp_path: Path) -> None:
    """300,000 µJ, and from 900,000 over 1,000,000 to 100,000 another 200,000; parts of a package count once."""
    before = energy.read(powercap(tmp_path / "a", 100_000, 900_000))
    after = energy.read(powercap(tmp_path / "b", 400_000, 100_000))
    assert energy.joules(before, after) == pytest.approx(0.5)


def test_without_counters_there_are_no_joules(tmp_path: Path) -> None:
    """None is no zero."""
    assert energy.joules(energy.read(tmp_path), energy.read(tmp_path)) is None


def test_steps_are_measured_until_enough_texts_were_trained() -> None:
    """Steps of 7 texts: 3 of them for 15 texts."""
    told = measured.measure(lambda: measured.Step(0.5, 7, 70, 96), 15)
    assert (told["texts"], told["tokens"], told["places"], told["first"]) == (21, 210, 288, [0.5] * 3)
    assert len(told["ms"]) == len(told["cpu_ms"]) == 3


def test_a_batch_is_padded_to_its_longest_text() -> None:
    """Texts of 1, 3 and 2 ids; the batch of the first and the last is 2 wide."""
    some = work.Work(np.array([5, 6, 7, 8, 9, 10]), np.array([1, 3, 2]), np.array([0, 1, 2]))
    ids, mask, labels = some.padded([0, 2])
    assert ids.tolist() == [[5, 0], [9, 10]]
    assert mask.tolist() == [[1, 0], [1, 1]]
    assert labels.tolist() == [0, 2]


def test_batches_follow_a_devices_order_from_epoch_to_epoch() -> None:
    """20 texts: the second batch ends with the first 12 of the second epoch."""
    batches = work.Batches(20, seed=3)
    first, second = next(batches), next(batches)
    orders = [epoch_order(3, epoch, 20).tolist() for epoch in (0, 1)]
    assert first + second == orders[0] + orders[1][:12]


def test_sorted_batches_are_those_of_like_length_and_none_is_lost() -> None:
    """256 texts of 1 to 256 tokens over tiers of 16, 24, 32 and 64: two groups of eight batches of neighbours."""
    steps = list(itertools.islice(sorted_batches.batches(list(range(1, 257)), seed=1), 16))
    assert sorted(text for batch, _ in steps for text in batch) == list(range(256))
    first = [batch for batch, _ in steps[:8]]
    ranked = sorted(text for batch in first for text in batch)
    assert sorted(first) == [ranked[place : place + 16] for place in range(0, 128, 16)]
    assert all(tokens == 64 or max(batch) + 1 <= tokens for batch, tokens in steps)
    assert {tokens for batch, tokens in steps if max(batch) < 16} <= {16}


def test_drawn_texts_have_the_recorded_lengths() -> None:
    """One text in four of 3 tokens, the others of 5, special tokens included; a word is one token."""
    transformers = pytest.importorskip("tokenizers")
    backbones = pytest.importorskip("export.source.backbone")
    tokenizer = transformers.Tokenizer.from_file(str(backbones.find(None).folder / "tokenizer.json"))
    tokenizer.no_padding()
    drawn = sets.drawn(sets.Recorded(2, (0, 0, 0, 1, 0, 3)), 400, seed=0)
    lengths = [len(tokenizer.encode(text).ids) for text, _ in drawn]
    assert set(lengths) == {3, 5}
    assert lengths.count(3) == pytest.approx(100, abs=25)
    assert {label for _, label in drawn} == {"label000", "label001"}


@pytest.mark.parametrize("name", sets.SETS)
def test_recorded_lengths_are_there_for_every_set(name: str) -> None:
    """With as many labels as the set has; no text is shorter than its two special tokens and a word."""
    about = sets.recorded(name)
    assert sum(about.counts) > 5000
    assert not any(about.counts[:3])
    assert about.labels == {"clinc150": 151, "hwu64": 64, "sst2": 2, "ag_news": 4}[name]


def run(**changes: object) -> dict[str, object]:
    """Return what an arm's process prints: 32 texts of 10 tokens in two steps of 40 ms."""
    whole = {
        "ms": [40.0, 40.0], "cpu_ms": [70.0, 90.0], "texts": 32, "tokens": 320, "places": 400, "joules": None,
        "peak_rss_mib": 100.0, "first": [1.0, 1.0],
    }  # fmt: skip
    return {**whole, **changes}


def test_figures_are_medians_of_runs() -> None:
    """32 texts in 80 ms are 400 a second, 16 take 40 ms; 4,000 tokens a second of 360 operations each."""
    runs = [run(), run(ms=[10.0, 10.0]), run(ms=[100.0, 100.0])]
    told = figures.of_arm("packed", runs, LITTLE)
    assert told == {
        "examples_s": 400.0, "examples_cpu_s": 200.0, "ms": 40.0, "gflop_s": pytest.approx(4000 * 360 / 1e9),
        "joules_per_1000": None, "peak_rss_mib": 100.0, "fill": 0.8, "texts_step": 16.0,
    }  # fmt: skip
    assert figures.of_arm("packed", [run(joules=4.0)], LITTLE)["joules_per_1000"] == 125.0


def test_ratios_are_examples_a_second_over_the_other_arms() -> None:
    """600 against 200 and 150; ours are held against the padded ones, too."""
    rates = {"packed": {"examples_s": 600.0}, "padded": {"examples_s": 200.0}, "eager": {"examples_s": 150.0}}
    told = figures.ratios(rates)
    assert told["packed"] == {"padded": 3.0, "eager": 4.0}
    assert told["padded"] == {"eager": pytest.approx(4 / 3)}
    of_processor = figures.ratios({"packed": {"cpu": 90.0}, "eager": {"cpu": 30.0}}, "cpu")
    assert of_processor == {"packed": {"eager": 3.0}, "eager": {}}


def test_a_curve_counts_training_time_and_tests_when_due() -> None:
    """Steps of 3 texts, a test after at least 5 more: at 0, 6, 12 and, the end, 15."""
    tests = iter([0.1, 0.5, 0.8, 0.7])
    curve = Curve(lambda: next(tests), every=5)
    curve.begin(lambda: None)
    curve.run(lambda: 3, 14)
    assert [(texts, right) for _, texts, right in curve.points] == [(0, 0.1), (6, 0.5), (12, 0.8), (15, 0.7)]
    assert curve.seconds < 1


def test_time_to_an_accuracy_is_that_of_the_first_test_that_reaches_it() -> None:
    """And none where no test does."""
    points = [(1.0, 0, 0.5), (2.0, 10, 0.8), (3.0, 20, 0.7)]
    assert learning.time_to(points, 0.7) == 2.0
    assert learning.time_to(points, 0.9) is None


def test_an_arm_that_misses_the_accuracy_once_has_no_mean() -> None:
    """Both seeds end at 0.7; one of them never had 0.8."""
    told = accuracy.summary({"eager": [[(1.0, 0, 0.8), (9.0, 9, 0.7)], [(1.0, 0, 0.2), (7.0, 9, 0.7)]]}, 0.8)
    assert told["arms"]["eager"]["seconds"] == [1.0, None]
    assert told["arms"]["eager"]["seconds_mean"] is None
    assert (told["arms"]["eager"]["end_mean"], told["arms"]["eager"]["seconds_end"]) == (0.7, 8.0)


def test_experts_of_the_eager_model_are_the_banks() -> None:
    """One layer of three experts, two of them trained, on five tokens: as one expert after the other computes it."""
    torch = pytest.importorskip("torch")
    from loop_experts import gelu, parts, soft

    from benchmarks.eager import Experts, Sizes
    from benchmarks.real_text import eager_bank
    from edge_runtime.wire.bank import Bank
    from edge_runtime.wire.experts import BankShape, ExpertId, shared_expert

    shape, random = BankShape((4,), 3, 2, 2, 8, 5), np.random.default_rng(0)
    blocks = {one: random.normal(0, 0.5, shape.size(one)).astype(np.float32) for one in shape.ids()}
    bank = Bank.from_blocks(shape, blocks)
    experts = Experts(8, Sizes((4,), 3, 2, 2, 2, 5, 20.0, 1, 5))
    with torch.no_grad():
        eager_bank.load_layer(experts, bank, 4, 2)
    x = torch.from_numpy(random.normal(0, 1, (5, 8)).astype(np.float32))
    own = torch.stack([torch.from_numpy(bank.block(ExpertId(4, index))) for index in range(3)])
    values = torch.from_numpy(bank.block(shared_expert(4)))
    # A shared expert has no router: with a row of zeros in its place the layouts agree.
    shared = parts(torch.cat([values[:16], torch.zeros(8), values[16:]]), 2, 8)
    always = gelu(x @ shared["down"].T + shared["bias"]) @ shared["up"] + shared["shift"]
    expected = soft(x, own, torch.ones(3), 2) + always
    assert float((experts(x) - expected).abs().max()) < 1e-5


def test_the_padded_package_has_a_row_for_each_text() -> None:
    """16 rows of 64 for AG News; the packed one is told nothing but the data."""
    words = arms.export_words("ag_news", "padded", Path("all.csv"), Path("out"))
    assert words[-4:] == ["--seq-len", "64", "--tokens", "1024"]
    assert "--tokens" not in arms.export_words("ag_news", "all", Path("all.csv"), Path("out"))


def test_arms_that_learn_start_from_a_bank_of_their_own_layers(tmp_path: Path) -> None:
    """PyTorch's arm of the last layers has no place for the experts of the others."""
    packages = arms.Plan("clinc150", accuracy.ARMS, tmp_path, tmp_path, 1).packages
    layers = {arm: arms.export_words("clinc150", arms.PACKAGE_OF[arm], tmp_path, tmp_path)[-1] for arm in accuracy.ARMS}
    assert {arms.PACKAGE_OF[arm] for arm in accuracy.ARMS} == set(packages)
    assert layers == {"packed": "all", "last": "last:2", "cached": "last:2", "eager": "all", "eager_last": "last:2"}


def test_the_table_says_what_the_machine_does_not_tell() -> None:
    """No joules are an empty cell, and a line says why."""
    of_packed = figures.of_arm("packed", [run()], LITTLE)  # type: ignore[list-item]
    of_set = {"tokens_mean": 10.0, "length": 24, "rows": 8, "real": False, "arms": {"packed": of_packed}}
    result = {
        "sets": {"clinc150": of_set | {"ratios": {"packed": {"eager": 4.0}}, "ratios_cpu": {"packed": {}}}},
        "failed": {"clinc150: lora": "no peft"},
        "extensions": ["avx2"], "amx": False, "tells_energy": False, "threads": 2,
    }  # fmt: skip
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    tables.show(result, Console(file=out, width=130))
    told = out.getvalue()
    assert "drawn from its recorded lengths" in told
    assert "failed: no peft" in told
    assert "avx2 (no AMX); 2 threads; the machine does not tell energy" in told


def test_quick_sets_only_what_was_not_said() -> None:
    """And the command that is recorded says what differs from a full run."""
    options = command.parse(["--quick", "--sets", "hwu64"])
    assert (options.sets, options.repeats, options.threads) == (("hwu64",), 1, 2)
    assert command.command(command.parse(["--threads", "1"])) == "python -m benchmarks.real_text --record --threads 1"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sets", "nobody"), "--sets: got nobody, expected some of clinc150, hwu64, sst2, ag_news"),
        (("--arms", "packed,x"), f"--arms: got x, expected some of {', '.join(ABOUT)}"),
        (("--steps", "0"), "must be at least 1"),
    ],
)
def test_bad_usage_is_refused(words: tuple[str, ...], said: str) -> None:
    """Exit status 2, and what was expected."""
    line = [sys.executable, "-m", "benchmarks.real_text", *words]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, said in done.stderr) == (2, True)


def test_lengths_are_counted_by_tokens() -> None:
    """Lengths 3, 3 and 5: places 3 and 5 of the list."""
    assert json.dumps(sets.distribution([3, 5, 3], 2)) == '{"labels": 2, "counts": [0, 0, 0, 2, 0, 1]}'


def test_the_page_shows_the_newest_line_of_each_set_and_mode() -> None:
    """Rates, the prediction of one text, times to an accuracy, and the rival design; an older run is gone."""
    about = {"work": "W.", "command": "c", "date": "d", "machine": "m", "commit": "e", "threads": 2}
    about |= {"extensions": ["avx2"], "tells_energy": False}
    of_packed = figures.of_arm("packed", [run(joules=4.0)], LITTLE)  # type: ignore[list-item]
    of_set = {"tokens_mean": 10.0, "length": 24, "rows": 8, "real": True, "arms": {"packed": of_packed}}
    old = {**of_set, "rows": 9}
    arm = {"seconds": [3.0, None], "seconds_mean": None, "end_mean": 0.8, "end_spread": 0.01, "seconds_end": 20.0}
    learned = {
        "held_out": 1000,
        "epochs": 4,
        "texts": 2000,
        "sets": {"clinc150": {"target": 0.8, "arms": {"eager": arm}}},
    }
    design = {"examples_s": 500.0, "peak_rss_mib": 200.0, "fill": 0.9, "mean": 0.8, "spread": 0.01}
    rival = {"epochs": 4, "texts": 2000, "seeds": 3, "sets": {"clinc150": {"sorted-": design}}}
    told = page.section(
        [
            {**about, "sets": {"clinc150": {**old, "ratios": {"packed": {}}, "ratios_cpu": {"packed": {}}}}},
            {
                **about,
                "sets": {
                    "clinc150": {
                        **of_set,
                        "ratios": {"packed": {"padded": 2.5, "eager": 4.0}},
                        "ratios_cpu": {"packed": {"eager": 3.0}},
                    }
                },
                "prediction": {"short_ms": 2.0, "long_ms": 5.0, "short_cpu_ms": 1.0, "long_cpu_ms": 4.0},
            },
            {**about, "accuracy": learned},
            {**about, "sorted": rival},
        ]
    )
    assert "8 rows" in told
    assert "9 rows" not in told
    assert "| **ours, packed** | 400 | 200 | 40.0 | 0 | 125.0 | 100 | 80 | 2.50 | 4.00 |  | 3.00 |" in told
    assert "2.00 wall ms against 5.00 in the call of 32 tokens (0.40 of it), 1.00 processor ms against 4.00" in told
    assert "| clinc150, 80 % | PyTorch eager, fp32 |  | 3.0, never | 80.0 ± 1.0 | 20 |" in told
    assert "tokens | 500 | 200 | 90 | 80.0 ± 1.0 |" in told
