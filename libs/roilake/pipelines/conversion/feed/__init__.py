"""Impressions as batches: two endless streams, clicked and unclicked."""
