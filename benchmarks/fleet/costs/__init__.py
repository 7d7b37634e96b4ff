"""What a gateway needs for 10^3 to 10^7 devices, from unit costs that were measured, and which part breaks first.

measuring.py    unit costs that no other benchmark has: ledger, disk, roster, planner
connections.py  memory and processor time of connections to the embedded broker, with and without TLS
units.py        all unit costs, each with the line of benchmarks/results that it is from
sizing.py       from unit costs and stated assumptions to needs and loads, by number of devices; pure
page.py         the section of docs/results.md
command.py      the command line
"""
