"""The limits: what a server holds at the edge of what it can do, and where that edge is."""
