"""docs/operating.md, followed line by line in an empty folder with real processes: it cannot say what is not so."""
