"""The section of docs/results.md: newest rates of each set, time to an accuracy, packing against sorted batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from benchmarks.markdown import percent, source, table
from benchmarks.real_text import ABOUT, accuracy, rival_design
from benchmarks.real_text.sets import SETS
from benchmarks.real_text.tables import one_text
from edge_runtime.wire.text import counted

Record = dict[str, Any]
HEAD: Final = (
    *("texts/s", "per CPU s", "ms of 16 texts", "GFLOP/s", "J per 1,000", "peak memory, MiB", "places full, %"),
    *("÷ padded", "÷ eager", "CPU ÷ padded", "CPU ÷ eager"),
)


def section(lines: Sequence[Record]) -> str:
    """Return the section."""
    rates = [line for line in lines if "arms" in next(iter(line.get("sets", {}).values()), {})]
    parts = ["\n## Training on real texts\n", *(_rates(rates) if rates else ())]
    for name, show in (("accuracy", _accuracy), ("sorted", _sorted)):
        parts += [show(line) for line in [line for line in lines if name in line][-1:]]
    return "".join(parts)


def _rates(lines: Sequence[Record]) -> list[str]:
    """Return the newest tables of each set and number of threads, and of one text's prediction."""
    about = (
        "\nPyTorch pads a batch to its longest text. All arms train the same texts in the same order, cut at the same\n"
        "length, each in its own process, in turns, medians. GFLOP/s: products of frozen weights with real tokens.\n"
        "÷: texts a second over the other arm's, by wall time and by processor time; other work moves this less.\n"
    )
    parts = ["\n", f"{lines[-1]['work']}", about]
    newest = {(name, line["threads"]): line for line in lines for name in line["sets"]}
    order = sorted(newest, key=lambda key: (list(SETS).index(key[0]), key[1]))
    parts += [_set(key[0], newest[key]) for key in order]
    predicted = [line["prediction"] for line in lines if "short_cpu_ms" in line.get("prediction", {})][-1:]
    return [*parts, *(f"\n{one_text(times)}\n" for times in predicted)]


def _set(name: str, line: Record) -> str:
    measured = line["sets"][name]
    drawn = "" if measured["real"] else " Lengths drawn from the recorded ones."
    sizes = f"{measured['tokens_mean']:.1f} tokens a text, cut at {measured['length']}; {measured['rows']} rows.{drawn}"
    rows = [
        [about if arm != "packed" else f"**{about}**", *_figures(arm, measured)]
        for arm, about in ABOUT.items()
        if arm in measured["arms"]
    ]
    extensions = ", ".join(line["extensions"])
    energy = "" if line["tells_energy"] else "; the machine does not tell energy"
    load = f"; load average {line['load']:.1f}" if "load" in line else ""
    where = f"{source(line)} ({extensions}){load}{energy}"
    return f"\n**{name}**, {counted(line['threads'], 'thread')}: {sizes}\n\n{table(('arm', *HEAD), rows)}\n- {where}\n"


def _figures(arm: str, measured: Record) -> list[str]:
    figures, ratios = measured["arms"][arm], [measured[kind][arm] for kind in ("ratios", "ratios_cpu")]
    joules = figures["joules_per_1000"]
    return [
        *(f"{figures[key]:,.0f}" for key in ("examples_s", "examples_cpu_s")),
        f"{figures['ms']:.1f}",
        f"{figures['gflop_s']:.0f}",
        "" if joules is None else f"{joules:.1f}",
        f"{figures['peak_rss_mib']:,.0f}",
        f"{100 * figures['fill']:.0f}",
        *(f"{against[other]:.2f}" if other in against else "" for against in ratios for other in ("padded", "eager")),
    ]


def _accuracy(line: Record) -> str:
    told = line["accuracy"]
    rows = [
        [
            f"{name}, {100 * of_set['target']:.0f} %",
            accuracy.NAMED[arm],
            "" if figures["seconds_mean"] is None else f"{figures['seconds_mean']:.1f}",
            ", ".join("never" if passed is None else f"{passed:.1f}" for passed in figures["seconds"]),
            f"{percent(figures['end_mean'])} ± {percent(figures['end_spread'])}",
            f"{figures['seconds_end']:.0f}",
        ]
        for name, of_set in told["sets"].items()
        for arm in ABOUT
        if (figures := of_set["arms"].get(arm))
    ]
    head = ("data, accuracy", "arm", "seconds, mean", "of each seed", "accuracy at the end", "seconds in all")
    return (
        f"\nSeconds of training to an accuracy on {told['held_out']:,} held-out texts: {told['epochs']} epochs of"
        f" {told['texts']:,} texts, class means\nincluded, tests twice an epoch not.\n\n"
        + table(head, rows)
        + f"\n- {source(line)}, {line['threads']} threads\n"
    )


def _sorted(line: Record) -> str:
    told = line["sorted"]
    rows = [
        [
            name,
            rival_design.ABOUT[design],
            f"{figures['examples_s']:,.0f}",
            f"{figures['peak_rss_mib']:,.0f}",
            f"{100 * figures['fill']:.0f}",
            f"{percent(figures['mean'])} ± {percent(figures['spread'])}",
        ]
        for name, designs in told["sets"].items()
        for design, figures in designs.items()
    ]
    head = ("data", "design", "texts/s", "peak memory, MiB", "places full, %", "accuracy, %")
    return (
        f"\nPacking against batches of like length: {told['epochs']} epochs of {told['texts']:,} texts,"
        f" {told['seeds']} seeds.\n\n" + table(head, rows) + f"\n- {source(line)}, {line['threads']} threads\n"
    )
