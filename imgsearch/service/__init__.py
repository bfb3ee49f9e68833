"""The vocabulary of the service that this program re-creates: fields, documents, codes, categories, sort values."""
