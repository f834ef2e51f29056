"""The best of every row while tiles of scores pass by: what exact top-K does beside the matrix product."""

from roilake.topk.kernel import Best, Hidden, count_before, decode

__all__ = ["Best", "Hidden", "count_before", "decode"]
