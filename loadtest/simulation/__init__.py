"""The simulation: how a scheduling policy does under load, without a server and in no real time."""
