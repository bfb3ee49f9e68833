"""How the trained parameters of the package were made; see README.md for the data and the figures."""
