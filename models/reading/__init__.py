"""Reading: what of a text a model gets: its sentences, words, windows, and what is told of it."""
