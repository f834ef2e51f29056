"""What a night will cost, before it runs: rows, bytes, memory, minutes and disk of each step."""
