"""Exported programs on 64-bit ARM code paths, under emulation: outputs that can be compared, instructions counted."""
