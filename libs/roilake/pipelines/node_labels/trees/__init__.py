"""Graphs that no process holds: laid out once on disk, of which each step reads some nodes' own surroundings."""
