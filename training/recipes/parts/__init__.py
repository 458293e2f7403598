"""What fields of recipes hold, where that has fields of its own."""
