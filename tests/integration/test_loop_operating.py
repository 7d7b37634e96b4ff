"""docs/operating.md is followed line by line, by real processes in an empty folder."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from loop_packages import Packages, write_data

from benchmarks.operating.document import Step, steps
from benchmarks.operating.follow import FollowError, empty_handed, follower
from benchmarks.operating.root_lines import ROOT
from benchmarks.operating.settings_file import set_keys
from broker_server.broker.mosquitto import installed
from broker_server.views.reading import reading
from broker_server.views.versions import read_versions


@pytest.mark.slow
def test_the_guide_for_operators_says_what_is_so(tmp_path: Path, packages: Packages) -> None:
    """Every line ends well; those that need root, systemd or a new environment are checked, and all are told of."""
    data = write_data(tmp_path / "texts.csv", {"alarm": 15, "music": 15, "light": 15}, 4)
    one = follower(tmp_path, packages["two"], data)
    text = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    one.follow(text)
    came = {
        what: [outcome.text for outcome in one.outcomes if outcome.what == what]
        for what in ("done", "checked", "left out")
    }
    starts = sum(text.startswith("broker_server run") for text in came["done"])
    assert starts == (2 if came["left out"] else 3)
    assert (came["left out"] == []) == (installed() is not None)
    assert all("broker_server run" not in text for text in came["checked"])
    assert sum("systemctl" in text for text in came["checked"]) > 3
    lines = {line for step in steps(text) if step.kind == "sh" for line, _ in step.commands()}
    assert lines - {outcome.line for outcome in one.outcomes} == set()
    assert (tmp_path / "backups/monday/ledger.sqlite3").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it exports a package while the fixture exports others
def test_the_tutorial_says_what_is_so(tmp_path: Path, packages: Packages) -> None:
    """Every line from an empty folder, but for the installation; the little backbone stands for MiniLM.

    Ada alone knows nothing of lights; with Bo the merged versions are measured on texts of all three labels.
    """
    sizes = "--experts 4 --rank 2 --shared-rank 2 --batch-size 4 --seq-len 16 --train-slots 1"
    little = f"--model {packages.backbone} {sizes} --cache-dir {packages.folder / 'cache'}"
    (tmp_path / "work").mkdir()
    one = empty_handed(tmp_path / "work", {"export.build --device pixel8 ": f"export.build --device pixel8 {little} "})
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    one.follow(text)
    bare = {line for step in steps(text) if step.name == "bare" for line, _ in step.commands()}
    assert {outcome.line for outcome in one.outcomes if outcome.what == "checked"} == bare
    lines = {line for step in steps(text) if step.kind == "sh" for line, _ in step.commands()}
    assert lines - {outcome.line for outcome in one.outcomes if outcome.what == "done"} == bare
    written = {step.name for step in steps(text) if step.kind == "python"}
    assert written == {"texts.py", "alone.py", "bo.py", "together.py"}
    with reading(tmp_path / "work/gateway-state") as ledger:
        versions = read_versions(ledger, 100).rows
    assert len([version for version in versions if version.reason == "merge"]) >= 2
    assert all(version.evaluations for version in versions[1:3])
    assert (tmp_path / "work/ada-alone-too/bank.safetensors").read_bytes() == (
        tmp_path / "work/ada-alone/bank.safetensors"
    ).read_bytes()


def test_a_document_is_read_as_steps() -> None:
    """Blocks with their fence, notes that a reader does not see, commands over two lines."""
    text = "# Title\n\n```sh root\na \\\n  b\n\nc  # why\n```\n<!-- follow: stop it -->\n```toml x.toml\nk = 1\n```\n"
    block, note, settings = steps(text)
    assert list(block.commands()) == [(5, "a b"), (7, "c  # why")]
    assert (block.line, block.kind, block.name) == (3, "sh", "root")
    assert note == Step(9, "note", "", "stop it")
    assert (settings.kind, settings.name, settings.text) == ("toml", "x.toml", "k = 1\n")


def test_settings_are_set_where_they_stand() -> None:
    """A key of the top, and one of a table that others have, too; what the file does not know is refused."""
    text = '# port: a.\n# port = 1\nname = "a"\n\n[listen]\n# port: b.\n# port = 2\n[web]\n# port = 3\n'
    changed = set_keys(text, 'name = "b"\n[web]\nport = 9\n')
    assert tomllib.loads(changed) == {"name": "b", "listen": {}, "web": {"port": 9}}
    with pytest.raises(ValueError, match=r"no key quorum in \[listen\]"):
        set_keys(text, "[listen]\nquorum = 3\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```sh\nbroker_server status --state none\n```\n", "line 2: .* ended with 1: .*no gateway state"),
        ("```sh root\nsudo broker_server run --nothing\n```\n", "is not understood"),
        (
            "```sh root\ninstall packaging/systemd/none.service /usr\n```\n",
            "there is no packaging/systemd/none.service",
        ),
        ("<!-- follow: dance -->\n", "nobody knows what 'dance' means"),
    ],
)
def test_a_document_that_says_what_is_not_so_is_found(tmp_path: Path, text: str, error: str) -> None:
    """The test can fail: a line that ends badly, an option, a file, a note."""
    (tmp_path / "package").mkdir()
    (tmp_path / "texts.csv").write_text("text,label\n")
    (tmp_path / "work").mkdir()
    one = follower(tmp_path / "work", tmp_path / "package", tmp_path / "texts.csv")
    with pytest.raises(FollowError, match=error):
        one.follow(text)
