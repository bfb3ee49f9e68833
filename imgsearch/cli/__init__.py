"""The command line: parses, calls the gateway once, renders; nothing is decided here."""
