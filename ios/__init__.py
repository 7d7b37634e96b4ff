"""The Swift half of the contract, and the Python that writes and runs it."""
