"""The search index of an instance in FAISS files, derived from the stored features."""
