"""Federations of many simulated devices with the product's own planning, merging, schedule and codecs."""
