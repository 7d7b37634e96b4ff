"""Everything that must survive ``kill -9``, in one SQLite database. Rows in, rows out; no decision is made here."""

from __future__ import annotations

from broker_server.state.delta_tables import DeltaTables
from broker_server.state.device_tables import DeviceTables
from broker_server.state.gate_tables import GateTables
from broker_server.state.mask_tables import MaskTables
from broker_server.state.round_tables import RoundTables

NAME = "ledger.sqlite3"


class Ledger(DeviceTables, RoundTables, DeltaTables, GateTables, MaskTables):
    """The database, by what the gateway keeps in it; each group of tables has its queries in a module of its own."""
