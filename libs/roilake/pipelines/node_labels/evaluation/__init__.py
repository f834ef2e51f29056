"""How good the labels are, and what is audited of a night."""
