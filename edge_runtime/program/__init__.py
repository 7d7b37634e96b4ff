"""Programs and their methods: open, hold arguments against signatures, fill slots, execute."""
