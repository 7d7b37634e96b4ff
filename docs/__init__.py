"""The documents; what writes two of them from the code is docs/reference.py and docs/api.py."""
