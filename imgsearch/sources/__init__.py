"""Where pictures and manifest lines come from; nothing is extracted or stored here."""
