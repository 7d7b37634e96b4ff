"""Everything that must survive ``kill -9``, in one SQLite database. Rows in, rows out; no decision is made here."""

from __future__ import annotations

from broker_server.state.delta_tables import DeltaTables
from broker_server.state.device_tables import DeviceTables
from broker_server.state.round_tables import RoundTables
from broker_server.state.settings_table import SettingsTable
from broker_server.state.version_tables import VersionTables

NAME = "ledger.sqlite3"


class Ledger(SettingsTable, DeviceTables, RoundTables, DeltaTables, VersionTables):
    """The database, by what the gateway keeps in it; each group of tables has its queries in a module of its own."""
