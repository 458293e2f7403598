"""Access: who asks, what they may, and what is written down about it."""
