"""Keys and certificates: the federation's authority, what it signs, the files that hold them, QR codes."""
