"""The peers: other servers with the same student in them, compared with `retort serve`."""
