"""What the page of a night of node labels shows beside what every page does."""
