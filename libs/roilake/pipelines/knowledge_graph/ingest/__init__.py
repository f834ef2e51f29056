"""Files of triples and texts -> the knowledge graph of a night."""
