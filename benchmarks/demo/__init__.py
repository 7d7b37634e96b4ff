"""`make demo`: the whole loop on one machine, with real programs, a real broker and one process for each device."""
