"""Published methods at work. Pipelines never import one another: they meet in published tables."""
