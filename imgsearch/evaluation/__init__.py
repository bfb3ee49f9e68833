"""How good search is on pictures whose answers are known: ground truth in, figures out."""
