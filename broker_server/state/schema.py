"""Tables of the ledger. WAL, synchronous=FULL: a commit is on the disk before a device is told of it.

A change of the tables gets the next number: the tables below are always the newest, and MIGRATIONS leads there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

SCHEMA: Final = 9
"""Number of these tables. 1: until HEAD and versions/ came; 2: with them, and with lost deltas; 3: with limits hit;
4: with counted verdicts, and deltas and plans found by their round; 5: with residuals;
6: with what a version notes of its merge; 7: with the gate's decisions; 8: with trust by direction;
9: with rounds under masks."""

_VERDICT_COUNTS: Final = """
CREATE TABLE IF NOT EXISTS verdict_counts ( -- final verdicts, counted for good; "verdicts" keeps the last ones
  device TEXT NOT NULL,             -- '': names that were forgotten
  kind INTEGER NOT NULL,
  code INTEGER NOT NULL,
  times INTEGER NOT NULL,
  PRIMARY KEY (device, kind, code)
) STRICT;
"""

_COUNT_KEPT: Final = """
INSERT OR IGNORE INTO verdict_counts SELECT device, kind, code, COUNT(*) FROM verdicts GROUP BY device, kind, code;
"""

MIGRATIONS: Final[dict[int, str]] = {
    9: "",  # likewise
    8: "",  # likewise
    7: "",  # a new table only
    6: "ALTER TABLE versions ADD COLUMN server TEXT NOT NULL DEFAULT '';",
    5: "ALTER TABLE versions ADD COLUMN residuals BLOB NOT NULL DEFAULT x'';",
    4: _VERDICT_COUNTS + _COUNT_KEPT,
    3: "",  # likewise
    2: "",  # a new table only, which TABLES makes; HEAD and versions/ are written at the start
}
"""SQL that leads to each number from the one before."""

TABLES: Final = (
    _VERDICT_COUNTS
    + """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS devices (
  device TEXT PRIMARY KEY,
  hello BLOB NOT NULL,              -- pb.Hello as it came
  first_seen REAL NOT NULL,         -- seconds since 1970
  last_seen REAL NOT NULL,
  present INTEGER NOT NULL,         -- as of the running gateway; all 0 at a start
  revoked INTEGER NOT NULL DEFAULT 0,
  bytes_up INTEGER NOT NULL DEFAULT 0,
  bytes_down INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX IF NOT EXISTS revoked_devices ON devices (device) WHERE revoked = 1;

CREATE TABLE IF NOT EXISTS limit_hits (
  device TEXT NOT NULL,             -- '': names that are registered nowhere
  limit_name TEXT NOT NULL,
  times INTEGER NOT NULL,
  last REAL NOT NULL,               -- seconds since 1970
  PRIMARY KEY (device, limit_name)
) STRICT;

CREATE TABLE IF NOT EXISTS statistics (
  device TEXT PRIMARY KEY,
  digest BLOB NOT NULL,             -- of the body
  counts BLOB NOT NULL,             -- [C] float32; of a site float64
  sums BLOB NOT NULL,               -- [C, d] likewise
  received REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS rounds (
  round INTEGER PRIMARY KEY,
  base_version INTEGER NOT NULL,
  opened REAL NOT NULL,
  closed REAL,                      -- NULL: open
  version INTEGER,                  -- that it made
  extensions INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE IF NOT EXISTS plans (
  device TEXT NOT NULL,
  round INTEGER NOT NULL,
  digest BLOB NOT NULL,
  payload BLOB NOT NULL,            -- pb.Plan as published; its digest must stay valid over restarts
  PRIMARY KEY (device, round)
) STRICT;
CREATE INDEX IF NOT EXISTS plans_by_digest ON plans (digest);
CREATE INDEX IF NOT EXISTS plans_by_round ON plans (round, device);

CREATE TABLE IF NOT EXISTS deltas (
  device TEXT NOT NULL,
  round INTEGER NOT NULL,           -- of its plan: one delta of a device counts in a round
  digest BLOB NOT NULL,
  bytes INTEGER NOT NULL,
  examples INTEGER NOT NULL,
  loss_first REAL NOT NULL,
  loss_last REAL NOT NULL,
  step_ms REAL NOT NULL,
  norms TEXT NOT NULL,              -- JSON, by kind of block
  blocks TEXT NOT NULL,             -- JSON, [[layer, index], ...]
  accepted REAL NOT NULL,
  version INTEGER,                  -- that it is part of; NULL: in the spool; -1: none, its device was revoked
  PRIMARY KEY (device, round)
) STRICT;

CREATE INDEX IF NOT EXISTS deltas_by_round ON deltas (round, device);
CREATE INDEX IF NOT EXISTS deltas_by_version ON deltas (version, device, round);

CREATE TABLE IF NOT EXISTS lost (   -- deltas that were accepted, and whose body the disk did not keep
  device TEXT NOT NULL,
  round INTEGER NOT NULL,
  digest BLOB NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (device, digest)
) STRICT;

CREATE TABLE IF NOT EXISTS verdicts (
  device TEXT NOT NULL,
  digest BLOB NOT NULL,             -- of the body
  kind INTEGER NOT NULL,
  code INTEGER NOT NULL,
  detail TEXT NOT NULL,
  round INTEGER NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (device, digest)
) STRICT;

CREATE TABLE IF NOT EXISTS versions (
  version INTEGER PRIMARY KEY,
  parent INTEGER,                   -- NULL: the package's initial bank
  digest BLOB NOT NULL,
  round INTEGER NOT NULL,           -- 0: the initial bank or a new head
  contributors INTEGER NOT NULL,
  reason TEXT NOT NULL,             -- "initial", "head", "merge", "rollback", "gate", "upstream"
  created REAL NOT NULL,
  payload BLOB NOT NULL,            -- pb.Version as published
  balance TEXT,                     -- JSON; top-k only
  residuals BLOB NOT NULL DEFAULT x'', -- (layer u32, index u32, digest) of what int8 left out of each block
  server TEXT NOT NULL DEFAULT ''   -- JSON, what it notes of its merge; '': nothing
) STRICT;

CREATE TABLE IF NOT EXISTS trained (
  device TEXT NOT NULL,
  layer INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  times INTEGER NOT NULL,
  PRIMARY KEY (device, layer, idx)
) STRICT;

CREATE TABLE IF NOT EXISTS evaluations (
  version INTEGER NOT NULL,
  data TEXT NOT NULL,               -- digest of the file and its name
  accuracy REAL NOT NULL,
  macro_f1 REAL NOT NULL,
  examples INTEGER NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (version, data)
) STRICT;

CREATE TABLE IF NOT EXISTS gate ( -- what was decided on merged versions, see rules/gate.py
  version INTEGER PRIMARY KEY,
  served INTEGER NOT NULL,          -- 0: devices never got it, and the version after it has the bank before it
  figure TEXT NOT NULL,
  value REAL,
  against INTEGER,                  -- version that it was compared with
  reference REAL,
  margin REAL NOT NULL,
  detail TEXT NOT NULL,
  at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS trust ( -- of devices whose directions were compared, see rules/agreement.py
  device TEXT PRIMARY KEY,
  trust REAL NOT NULL,
  left_out_since INTEGER            -- version; NULL: it is merged
) STRICT;

CREATE TABLE IF NOT EXISTS mask_rounds ( -- rounds whose deltas are summed under masks, see rules/masking.py
  round INTEGER PRIMARY KEY,
  terms BLOB NOT NULL,              -- pb.MaskTerms of all its circles
  members BLOB,                     -- pb.MaskMembers as published; NULL: keys come
  dealt BLOB,                       -- bits by place; NULL: shares come
  survivors BLOB,                   -- pb.MaskSurvivors as published, written once; NULL: deltas come
  sums BLOB,                        -- digest of the opened sums in the spool; NULL: answers come
  told TEXT NOT NULL DEFAULT '{}'   -- JSON, what became of it
) STRICT;

CREATE TABLE IF NOT EXISTS mask_bodies ( -- what devices sent of masks, until their round is over
  device TEXT NOT NULL,
  round INTEGER NOT NULL,
  kind INTEGER NOT NULL,            -- KEYS, SHARES or ANSWER
  digest BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (device, round, kind)
) STRICT;

CREATE TABLE IF NOT EXISTS text_evaluations ( -- of a federation that continues texts
  version INTEGER NOT NULL,
  data TEXT NOT NULL,               -- digest of the file and its name
  loss REAL NOT NULL,               -- mean of -log p of a token
  tokens INTEGER NOT NULL,
  at REAL NOT NULL,
  PRIMARY KEY (version, data)
) STRICT;
"""
)


@dataclass(frozen=True)
class Schema:
    """Tables of a database.

    Args:
        number: of these tables.
        tables: SQL that makes them.
        migrations: SQL that leads to each number from the one before.
        synchronous: SQLite's word for what a commit waits for.
    """

    number: int
    tables: str
    migrations: Mapping[int, str] = field(default_factory=dict)
    synchronous: str = "FULL"


LEDGER: Final = Schema(SCHEMA, TABLES, MIGRATIONS)
"""Of a gateway's ledger."""
