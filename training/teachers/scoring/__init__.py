"""Scorers by kind: what each kind of teacher says of a pair."""
