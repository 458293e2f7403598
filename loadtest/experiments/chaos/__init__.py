"""What a server loses when something is done to it, in parts."""
