"""What a build shows and tells: progress, tables, one JSON object."""
