"""Labels of all nodes of the sought type."""
