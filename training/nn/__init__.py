"""The networks and the one loop that trains them."""
