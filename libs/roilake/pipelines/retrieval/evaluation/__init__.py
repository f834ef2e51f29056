"""How retrieval models are evaluated, and what is audited before a night is published."""
