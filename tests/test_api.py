"""docs/api.md: written from the docstrings, up to date, and complete."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_troubleshooting import patterns

import broker_server
import edge_runtime
import export
from broker_server.config import GatewayConfig, flat
from docs import api
from export.interface import BuildSettings

ROOT = Path(__file__).parent.parent
COMMANDS = re.compile(
    r"/commands/|/(cli|__main__)\.py$|^export/((build|sign)\.py|report/)|/native/(build|sdk)\.py$|/wire/vectors/"
)
"""What only commands call: their texts may name options."""
WHOLE_LINE = re.compile(r"\b(broker_server|edge_runtime|pip|python -m|systemctl)\b[^;:,()]*")
"""A command that stands in a text whole, with its options."""
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def test_the_page_is_what_the_docstrings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make api` was run after the last change; another text is found, and writing makes it right."""
    assert api.main(["--check"]) == 0
    page = tmp_path / "api.md"
    monkeypatch.setattr(api, "PAGE", page)
    assert api.main(["--check"]) == 1
    assert "run make api" in capsys.readouterr().err
    page.write_text("older")
    assert api.main(["--check"]) == 1
    assert api.main([]) == 0
    assert api.main(["--check"]) == 0


def test_every_public_name_and_argument_is_there() -> None:
    """A heading for each name but errors, a row for each error, a line for each argument of a method."""
    text = api.PAGE.read_text(encoding="utf-8")
    for package in (edge_runtime, export, broker_server):
        for name in package.__all__:
            assert f"\n### {name}\n" in text or f".{name}` | Exception |" in text, name
    for error in ("edge_runtime.errors.ConfigError", "export.errors.BudgetError", "broker_server.errors.ListenError"):
        assert f"| `{error}` | " in text
    train = text.partition("#### Model.train")[2].partition("#### ")[0]
    code, _, told = train.partition("```python")[2].partition("```")
    names = [line.strip().partition(":")[0] for line in code.splitlines() if line.startswith("    ") and ":" in line]
    assert len(names) > 20
    assert [name for name in names if f"- `{name}`: " not in told] == []


def test_a_docstring_becomes_paragraphs_and_lists() -> None:
    """Sections of Google's style, items over several lines, types of fields, signatures as long as they are."""
    text = """Do it.

    With ``care``.

    Args:
        first: a thing
            that goes on.
        second, third: others.

    Raises:
        ValueError: never.
    """
    assert api.prose(text, {"first": "int"}) == (
        "Do it.\n\nWith `care`.\n\nArgs:\n\n- `first` (int): a thing that goes on.\n- `second`, `third`: others.\n\n"
        "Raises:\n\n- `ValueError`: never.\n"
    )

    def short(one: int, *, two: str = "b") -> bool: ...

    assert api.signature("short", short) == "short(one: int, *, two: str = 'b') -> bool"


def below_commands() -> Iterator[tuple[str, ast.Module]]:
    """Yield name and syntax tree of each module that a user of the interface calls, without docstrings."""
    for package in api.PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not COMMANDS.search(name):
                yield name, Undocumented().visit(ast.parse(path.read_text(encoding="utf-8")))


class Undocumented(ast.NodeTransformer):
    """Takes docstrings out."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        """Leave nothing of a string that stands alone."""
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return ast.Expr(ast.Constant(None)) if alone else node


def options_in(text: str) -> list[str]:
    """Return the options in a text that do not stand in a whole command."""
    return OPTION.findall(WHOLE_LINE.sub("", text))


def test_what_the_interface_says_names_no_option_of_a_command() -> None:
    """A caller of ``Model.train`` has no ``--tier``; a command adds its options by the arguments of an error."""
    assert options_in("tier 9: say --tier, as broker_server run --state x does") == ["--tier"]
    assert [(name, text) for name, tree in below_commands() for text in patterns(tree) if options_in(text)] == []


def test_errors_are_about_arguments_that_there_are() -> None:
    """Each name that an error has stands in the interface, or in gateway.toml."""
    callables = (*vars(edge_runtime.Model).values(), *vars(edge_runtime.Model.__base__).values(), export.build_package)
    known = {name for one in callables if callable(getattr(one, "__func__", one)) for name in parameters(one)}
    known |= {*BuildSettings.__annotations__, *flat(GatewayConfig(Path())), "accept_loss", "set_aside"}
    calls = [node for _, tree in below_commands() for node in ast.walk(tree) if isinstance(node, ast.Call)]
    about = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "about"]
    names = {argument.value for node in about for argument in node.args if isinstance(argument, ast.Constant)}
    assert len(about) > 30
    assert names - known == set()


def parameters(thing: object) -> set[str]:
    """Return the parameters of a function or a class method."""
    return set(inspect.signature(getattr(thing, "__func__", thing)).parameters)  # type: ignore[arg-type]
