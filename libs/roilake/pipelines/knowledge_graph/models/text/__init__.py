"""Texts as vectors: tokens, a transformer, and a pretrained one."""
