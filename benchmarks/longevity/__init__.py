"""A day of rounds in fast motion: what a gateway keeps, and what a round costs, after ten thousand versions.

The gateway's own parts (rounds, rules, state on real files) run in one process without a broker, as in
benchmarks.faults; three devices answer every plan at once, and now and then one comes with other data or the
operator rolls back.

day.py      the rounds, and what is looked at now and then
page.py     the section of docs/results.md
"""
