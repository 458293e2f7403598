"""The shadow: a share of the requests is scored by the teacher too, later, and compared."""
