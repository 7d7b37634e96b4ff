"""The page on which an operator sees the federation, in a browser: HTTP beside the gateway, on a thread of its own."""
