"""The formats of sources, a file each."""
