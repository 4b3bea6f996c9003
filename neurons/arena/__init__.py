"""The arena: the whole network in one process, and in it neurons that try to earn without work."""
