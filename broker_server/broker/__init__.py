"""The broker: embedded or elsewhere, its framing, who may do what, and the gateway's connection."""
