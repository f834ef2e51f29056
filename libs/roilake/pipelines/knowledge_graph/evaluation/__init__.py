"""How well triples are told that no model has seen, and what is audited of a night."""
