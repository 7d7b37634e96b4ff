"""Cases that every implementation of the contract decides alike; README.md tells how to replay them."""
