"""Vectors of all entities, and the likeliest new facts of those that are asked for."""
