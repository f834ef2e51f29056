"""Pipelines, steps and the registry, and the harness that runs them."""
