"""benchmarks.signed_keys: its lists are those of the product."""

from __future__ import annotations

import pytest

from benchmarks import signed_keys


def test_a_list_of_signed_keys_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """By as much longer as certificate, signature, name and plan are; both lists are read as devices read them."""
    assert signed_keys.main(["--members", "3", "--circles", "1"]) == 0
    told = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert told["members"] == "3"
    assert 3 * 450 < int(told["signed_bytes"].replace(",", "")) - int(told["unsigned_bytes"]) < 3 * 700
    with pytest.raises(SystemExit):
        signed_keys.main(["--members", "2"])
