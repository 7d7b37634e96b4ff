"""Who holds the blocks of the bank while deltas are merged: this process, or shards that have a range of them each."""
