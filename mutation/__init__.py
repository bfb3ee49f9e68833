"""Mutation testing of the engine's core: ``python3 noxfile.py mutation``; docs/testing.md tells what came of it."""
