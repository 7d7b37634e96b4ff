"""Rounds as they run: what comes in, who is here, merging, announcing."""
