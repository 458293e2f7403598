"""The commands of `retort` that train, evaluate and export."""
