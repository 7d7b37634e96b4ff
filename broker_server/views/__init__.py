"""What people and programs see of a gateway, as frozen values with a ``plain`` form for JSON.

All but ``live`` are pure reads of the state directory: they say the same beside a running gateway, in it, and of one
that has stopped.
"""
