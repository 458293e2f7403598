"""The experiments: each says which targets, which traffic, which loads and which rows."""
