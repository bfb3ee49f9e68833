"""Benchmarks: each module is one command and prints one table, with ratios against a baseline run beside it."""
