"""The service's filter language: text is parsed to a neutral tree, which each storage compiles to its own queries."""
