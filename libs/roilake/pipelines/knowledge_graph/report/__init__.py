"""What the page of a night of the knowledge graph shows beside what every page does."""
