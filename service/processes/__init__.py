"""The processes of a server: a supervisor, front ends, engines, and what they tell each other."""
