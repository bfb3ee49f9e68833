"""Fuzzers for everything that reads what strangers wrote: ``python3 noxfile.py fuzz``; docs/testing.md tells more."""
