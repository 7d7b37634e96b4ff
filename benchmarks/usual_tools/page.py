"""The section of docs/results.md, and README's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.markdown import newest, percent, source, table
from benchmarks.usual_tools import ABOUT, OURS
from benchmarks.usual_tools.choosing import at_edge

NAME: Final = "usual_tools"
HEAD: Final = (
    "one epoch on this machine",
    "accuracy, %",
    "peak memory, MiB",
    "texts/s",
    "steps/s",
    "epoch, s",
    "whole process, processor s",
)


def section(lines: Sequence[dict[str, Any]]) -> str:
    """Return the section: the newest run on each set."""
    text = (
        "\n## Beside usual tools: accuracy and cost\n\n"
        f"{lines[-1]['work']}\n"
        "Accuracy on the set's own test texts, by seed. Each run is a process of its own, arms in turns, seed by\n"
        "seed. Peak memory is that of the training process. Texts and steps a second are by the median step; an epoch\n"
        "is that times its steps. Logistic regression encodes every text once and fits once, which is its epoch; it\n"
        "has no seed. Processor seconds are those of the whole process, with loading, testing and, for ours, the pass\n"
        "that starts the head. Settings are chosen by accuracy on a tenth of the training texts, held back (seed 0);\n"
        "the ranges are what they are since a first run, which showed test accuracies, too. LoRA is peft's example:\n"
        "the model's own pooler and a new head.\n"
    )
    for run in newest(lines, "data"):
        text += f"\n{data(run)}\n\n{table_of(run)}\n{conditions(run)}\n\n{chosen(run)}- {source(run)}\n"
    return text


def readme(run: Mapping[str, Any]) -> str:
    """Return README's table with the conditions that it holds under."""
    about = "Accuracy and cost beside what people would do with usual tools, with the texts in one place:"
    return f"{about}\n\n{table_of(run)}\n{data(run)} {run['work']}\n{conditions(run)}\n"


def data(run: Mapping[str, Any]) -> str:
    """Return what was learned."""
    return f"{run['data']}: {run['train']:,} training texts, {run['test']:,} test texts, {run['labels']} labels."


def table_of(run: Mapping[str, Any]) -> str:
    """Return the arms of a run."""
    rows = [_row(name, run["arms"][name]) for name in ABOUT if name in run["arms"]]
    return table(HEAD, rows)


def _row(name: str, arm: Mapping[str, Any]) -> list[str]:
    about = f"**{ABOUT[name]}**" if name == OURS else ABOUT[name]
    alike = len(set(arm["accuracies"])) == 1
    by_seed = "" if alike else f" ({', '.join(percent(one) for one in arm['accuracies'])})"
    return [
        about,
        percent(arm["accuracy"]) + by_seed,
        f"{arm['peak_rss_mib']:,.0f}",
        f"{arm['texts_s']:,.1f}",
        f"{arm['steps_s']:.2f}" if "steps_s" in arm else "",
        f"{arm['epoch_s']:,.0f}",
        f"{arm['cpu_s']:,.0f}",
    ]


def conditions(run: Mapping[str, Any]) -> str:
    """Return under what load times were taken, and how ours compare in time."""
    seeds, threads = (f"{run[name]} {name if run[name] != 1 else name[:-1]}" for name in ("seeds", "threads"))
    beside = f", {run['jobs']} seeds side by side" if run["jobs"] > 1 else ""
    load = max(run["load"])
    text = f"{seeds}{beside}, {threads} each; the load average rose to {load:.1f} on {run['cores']} cores"
    text += ", so seconds say little: compare ratios, accuracy and memory." if load > run["cores"] else "."
    if ratio := run["ratios"]:
        text += f" Ours, of those of LoRA on q and v in the same turn: {ratio['texts_s']:.1f} times the texts a second,"
        text += f" {ratio['steps_s']:.1f} times the steps a second, {ratio['cpu_s']:.2f} of the processor time."
    return text


def chosen(run: Mapping[str, Any]) -> str:
    """Return what was chosen for each arm, and the accuracies on held-back texts that it was chosen by."""
    lines = []
    for name in ABOUT:
        if not (arm := run["arms"].get(name)):
            continue
        tried = ", ".join(f"{setting}: {percent(right)}" for setting, right in arm["choices"].items())
        by = f"of accuracies on held-back texts {tried}" if tried else "on the command line"
        by += "; the last of its range, so one beyond it may be better" if at_edge(arm["choices"]) else ""
        lines.append(f"- {ABOUT[name]}: {_SETTING[name]} {arm['chosen']}, {by}\n")
    return "".join(lines)


_SETTING: Final = {
    "logistic": "C",
    "lora": "rate",
    "lora_everywhere": "rate",
    "ours": "rate of experts (after a colon: of the head, else frozen)",
}
