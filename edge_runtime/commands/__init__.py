"""The subcommands of ``edge_runtime``: each parses, opens parts, calls one function."""
