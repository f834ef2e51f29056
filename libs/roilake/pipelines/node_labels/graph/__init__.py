"""The graph that labels are sought in: from files, or as another pipeline published it."""
