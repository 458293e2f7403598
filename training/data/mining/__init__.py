"""Finding passages for queries: by words, by vectors, as negatives and as candidates."""
