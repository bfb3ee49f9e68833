"""Sources of pictures and manifest lines; nothing is extracted or stored here."""
