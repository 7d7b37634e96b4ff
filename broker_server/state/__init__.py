"""The state directory: ledger, versions, blobs, spool, and files that are whole or absent."""
