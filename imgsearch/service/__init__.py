"""The vocabulary of the service that imgsearch re-creates: fields, documents, codes, categories, sort values."""
