"""The peers: other servers with the same student in them, measured beside `retort serve`."""
