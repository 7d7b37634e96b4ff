"""The gateway: serves rounds over MQTT, merges what devices trained, and keeps every version.

Imports ``edge_runtime.wire`` and nothing else of ``edge_runtime``; neither torch nor ExecuTorch is ever loaded.
"""
