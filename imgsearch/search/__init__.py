"""How items are ranked for a query: candidates, siblings, scores, pages; NumPy only, above any storage."""
