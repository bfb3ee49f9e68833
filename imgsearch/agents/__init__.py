"""Tools for agents: what the command line does, over the Model Context Protocol."""
