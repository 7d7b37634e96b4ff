"""Taking part in a federation: the device, its session and membership, its work, versions, deltas and the link."""
