"""A fleet of any size around the real gateway's parts: simulated clock, links and devices, real messages and rounds.

Conductor, reception, ledger and spool are those of a running gateway, and so is every message between them and the
devices. Simulated are the clock, the links, and what a device does between two messages: it trains for as long as a
device of its profile would, and its deltas are right ones from a small pool.

assumed.py   what is assumed of devices: presence through a day, sessions, links, drop-outs, each with its source
clock.py     the simulated clock
kinds.py     how strong devices are, from the shipped profiles
device.py    one device as a state machine
blocks.py    who waits for which blocks of a version
network.py   messages between devices and gateway: links with a speed, and what a broker retains
gateway.py   the real parts, whose processor time is counted
fleet.py     all devices: who comes, who goes, what became of their deltas
run.py       a run, and its figures
command.py   the command line
"""
