"""Files of texts: what is read in which form, what is refused, and in which words. Row for row by hand."""

from __future__ import annotations

import contextlib
import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import Kind, layout_of, rows, rows_from
from edge_runtime.wire.errors import DataError
from edge_runtime.wire.text_lines import ROW_LIMIT, Encoding, lines, whole

PLAIN = [("hi, you", "ham"), ('say "now"\nor never', "spam"), ("größe ☂ 👍", "ham")]
QUOTED = 'text,label\n"hi, you",ham\n"say ""now""\nor never",spam\ngröße ☂ 👍,ham\n'
UNQUOTED = "text{0}label\nhi, you{0}ham\ngood bye{0}spam\n"


def read(
    content: str | bytes, name: str = "d.csv", columns: Columns = USUAL, *, labelled: bool = True
) -> list[tuple[str, str]]:
    """Return the rows of a file, which must be those that their places lead to, too."""
    file = io.BytesIO(content.encode() if isinstance(content, str) else content)
    layout = layout_of(file, name, columns, labelled=labelled)
    listed = list(rows(file, layout))
    for row in listed:
        again = next(rows_from(file, layout, row.place))
        assert (again.text, again.label) == (row.text, row.label)
    return [(row.text, row.label) for row in listed]


def refusal(content: str | bytes, name: str = "d.csv", columns: Columns = USUAL, *, labelled: bool = True) -> str:
    """Return the error's text, which must be one line."""
    with pytest.raises(DataError) as caught:
        read(content, name, columns, labelled=labelled)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings_and_line_ends(encoding: str, end: str) -> None:
    """UTF-8 with and without a mark, UTF-16 as Excel writes it; Unix, Windows and old Mac line ends."""
    text = QUOTED.replace("\n", end)
    content = ("\ufeff" if encoding == "utf-16-be" else "") + text
    expected = [(PLAIN[0]), ('say "now"' + end + "or never", "spam"), PLAIN[2]]
    assert read(content.encode(encoding)) == expected
    objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in PLAIN]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    assert read((mark + end.join(objects)).encode(encoding), "d.jsonl") == PLAIN
    assert read((mark + f" [{end}{f',{end} '.join(objects)}]{end}").encode(encoding), "d.json") == PLAIN


@pytest.mark.parametrize("sign", [";", "\t"])
def test_the_header_says_what_parts_columns(sign: str) -> None:
    """Commas in texts need no quotes then; the names may stand in any case, with spaces, behind Excel's hint."""
    expected = [("hi, you", "ham"), ("good bye", "spam")]
    assert read(UNQUOTED.format(sign)) == expected
    assert read(UNQUOTED.format(sign).replace("text", ' "Text"').replace("label", " LABEL ")) == expected
    assert read(f"sep={sign}\r\n\r\n{UNQUOTED.format(sign)}") == expected


def test_columns_have_the_users_names() -> None:
    """A name that the user wrote counts as it is written first; other columns do not matter."""
    table = "id,Utterance,utterance,intent\n1,a,b,ham\n"
    assert read(table, columns=Columns("Utterance", "intent")) == [("a", "ham")]
    assert read(table, columns=Columns("utterance", "INTENT")) == [("b", "ham")]
    lines = '{"utterance": "a", "intent": "ham", "n": 1}\n'
    assert read(lines, "d.jsonl", Columns("utterance", "intent")) == [("a", "ham")]
    assert read('{"Text": "a", "LABEL": "ham"}\n', "d.jsonl") == [("a", "ham")]


def test_spaces_behind_separators() -> None:
    """``a, "b, c"`` is how people write it."""
    assert read('text, label\n"a, b", "ham"\nc, spam \n') == [("a, b", "ham"), ("c", "spam")]


def test_lines_of_a_language_model() -> None:
    """Other endings are lines, and a table when a column was named."""
    assert read("a, b\r\rc\n", "d.txt", labelled=False) == [("a, b", ""), ("", ""), ("c", "")]
    assert read("id\tnote\n1\ta, b\n", "d.txt", Columns("note"), labelled=False) == [("a, b", "")]
    assert read("text;n\na, b;1\n", "d.tsv", labelled=False) == [("a, b", "")]
    assert read('{"text": "a"}\n', "d.ndjson", labelled=False) == [("a", "")]


@pytest.mark.parametrize("number", [0xD83D, 0xDC4D])
def test_half_a_character_becomes_the_replacement_character(number: int) -> None:
    """From JSON's escapes, from bytes that say it in UTF-8 or UTF-16; two halves in a row are a character."""
    half, expected = chr(number), [("a\ufffdb", "ham")]
    escaped = json.dumps({"text": f"a{half}b", "label": "ham"})
    assert read(escaped, "d.jsonl") == expected
    assert read(f"[{escaped}]", "d.json") == expected
    table = f"text,label\na{half}b,ham\n"
    assert read(table.encode("utf-8", "surrogatepass")) == expected
    assert read(("\ufeff" + table).encode("utf-16-le", "surrogatepass")) == expected
    assert whole("\ud83d\udc4d") == "👍"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "has no header line; expected one with text and label"),
        (
            "utterance;intent\na;b\n",
            "utterance, intent with semicolons between them in its first line, the header; expected text and",
        ),
        ("text\nhi\n", "has the column text alone in its first line, the header; expected text and label, parted by"),
        (
            "text|label\na|ham\n",
            "has the column text|label alone in its first line, the header; expected text and label",
        ),
        ("te\x1bxt,label\n", "has the columns te\\u001bxt, label with commas"),
        ('{"text": "a"}\n', "looks like JSON; give it a name that ends in .jsonl or .json"),
        ("text,label,text\na,ham,b\n", "2 columns of one name: text (column 1) and text (column 3)"),
        ("text,Label,label\na,ham,b\n", "2 columns of one name: Label (column 2) and label (column 3)"),
        ("text,label\nhello, world,spam\n", "line 2: 3 fields, the header has 2 (with commas between them); write a"),
        ("text,label\nhi\n", "line 2: 1 field, the header has 2"),
        ("text,label\nhi;ham\n", "line 2: 1 field, the header has 2 (with commas between them)"),
        ("text,label\na,ham\nb,\n", "line 3: a text without a label"),
        ('text,label\na,ham\n"b,ham\nc,ham\n', "line 3: not CSV: a quotation mark opens here and is never closed"),
        ('text,label\n"a" b,ham\n', "line 2: not CSV"),
        (b"text,label\nh\xe9,ham\n", "line 2: byte 2 is not UTF-8; save the file as UTF-8"),
        (b"text,label\nh\0,ham\n", "line 2: a NUL byte; expected text in UTF-8, or in UTF-16 with a byte order mark"),
        ("text,label\n".encode("utf-16-le"), "line 1: a NUL byte"),
        ("text,label\n".encode("utf-16")[:-1], "line 1: byte 21 is not UTF-16"),
        (b"\x1f\x8b\x08", "is a gzip archive; unpack it first"),
        (b"PK\x03\x04", "is a workbook or a zip archive"),
        ("text,label\n".encode("utf-32"), "is in UTF-32"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    ],
)
def test_tables_that_are_refused(content: str | bytes, expected: str) -> None:
    """By line, with what came and what to do."""
    assert expected in refusal(content)


def test_one_column_for_both_is_refused() -> None:
    """Labels would be texts."""
    assert "text and label are the same column intent" in refusal("intent\na\n", columns=Columns("intent", "intent"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"text": "a", "label": "b"}\n{"text": 3, "label": "b"}\n', "line 2: text is the number 3; expected a string"),
        ('{"text": "a", "label": 1}', 'line 1: label is the number 1; expected a string such as "1"'),
        ('{"text": "a", "label": null}', "line 1: label is null; expected a string"),
        ('{"text": "a", "label": true}', "line 1: label is true; expected a string"),
        ('{"text": ["a"], "label": "b"}', "line 1: text is a list; expected a string"),
        ('{"text": "a", "label": ""}', "line 1: a text without a label"),
        ('{"text": "a"}', "line 1: came an object with the keys text; expected text and label, each once; name yours"),
        ("{}", "line 1: came an object without keys"),
        ('{"text": "a", "text": "b", "label": "c"}', "line 1: not JSON (the key text stands twice)"),
        ('{"text": "a", "Text": "b", "label": "c"}', "line 1: came an object with the keys text, Text, label"),
        ('"a"\n', "line 1: came a string; expected an object with the strings text and label"),
        ('\n{"text": "a",\n"label": "b"}\n', "line 2: not JSON"),
        ("text,label\na,b\n", "line 1: not JSON"),
        ('[\n{"text": "a", "label": "b"},\n{"text": 3}]', "line 3: text is the number 3"),
        ("[1]", "line 1: came the number 1; expected an object"),
        ('[{"text": "a", "label": "b"}\n', "line 2: not JSON: , or ] is missing"),
        ('[{"text": "a", "label": "b"},]', "line 1: not JSON"),
        ('[{"text": "a", "label": "b"}]\n{}', "line 2: more after the list's end"),
        ("[]\n]", "line 2: more after the list's end"),
        ('[{"text": "a", "label": "b', "line 1: not JSON (Unterminated string starting at)"),
        ("[" * 100_000, "line 1: not JSON (nested too deeply)"),
        ('{"text": ' + "[" * 100_000, "line 1: not JSON (nested too deeply)"),
        ('{"text": "a", "label": ' + "9" * 5000 + "}", "line 1: not JSON (a number of thousands of digits)"),
    ],
)
def test_json_that_is_refused(content: str, expected: str) -> None:
    """By line, and each says what stood there."""
    assert expected in refusal(content, "d.json")


def test_an_empty_list_has_no_row() -> None:
    """As an empty file has none."""
    assert read(" [ ] ", "d.json") == read("", "d.jsonl") == []


def test_lists_are_read_piece_by_piece() -> None:
    """Items larger than what is read at a time, and many of them, come back from their places."""
    many = [(f"é{place} {'x' * (1 + place * 37 % 9000)}", "ham") for place in range(300)]
    content = json.dumps([{"text": text, "label": label} for text, label in many], indent=1, ensure_ascii=False)
    assert read(content, "d.json") == many


def test_a_line_without_end_is_refused_before_it_fills_memory() -> None:
    """33 MiB in one line."""
    with pytest.raises(DataError, match="d line 1: over 32 MiB"):
        list(lines(io.BytesIO(b"x" * (ROW_LIMIT + (1 << 20) + 1)), Encoding(), "d", 0))


def test_columns_that_a_file_may_have() -> None:
    """Their values where they are, nothing where they are not."""
    columns = Columns(more=("user", "split"))
    table, line = "split,text,label\n test ,a,ham\n", '{"split":"test","text":"a","label":"ham"}'
    for name, content in (("d.csv", table), ("d.json", line)):
        file = io.BytesIO(content.encode())
        layout = layout_of(file, name, columns, labelled=True)
        assert [row.more for row in rows(file, layout)] == [("", "test")]
    assert layout.kind is Kind.JSON_LINES


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(WORDS, WORDS.filter(str.strip)), max_size=6),
    sign=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    kind=st.sampled_from(["d.csv", "d.jsonl", "d.json"]),
)
def test_what_was_written_is_read(pairs: list[tuple[str, str]], sign: str, encoding: str, kind: str) -> None:
    """Any text, through Python's own writers, comes back without the white space around it."""
    if kind == "d.csv":
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=sign).writerows([("text", "label"), *pairs])
        content = out.getvalue()
    else:
        objects = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in pairs]
        content = "\n".join(objects) if kind == "d.jsonl" else f"[{','.join(objects)}]"
    assert read(content.encode(encoding), kind) == [(text.strip(), label.strip()) for text, label in pairs]


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=60) | st.text("text,label\n\r\"';\t []{}:\\ud8", max_size=60).map(str.encode),
    head=st.sampled_from([b"", b"text,label\n", b"text;label\r", b'[{"text": "', "\ufefftext".encode("utf-16-le")]),
    kind=st.sampled_from(["d.csv", "d.jsonl", "d.json", "d.txt"]),
    labelled=st.booleans(),
)
def test_whatever_comes_is_read_or_refused(content: bytes, head: bytes, kind: str, *, labelled: bool) -> None:
    """Rows, or one error of ours."""
    with contextlib.suppress(DataError):
        read(head + content, kind, labelled=labelled)
