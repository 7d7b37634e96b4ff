"""The documents; what writes one of them from the code is docs/reference.py."""
