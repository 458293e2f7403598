"""Retort: distil slow question-answering rankers into one small, fast one, and serve it."""
