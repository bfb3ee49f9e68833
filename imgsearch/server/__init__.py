"""The HTTP server: the vendor's API, a page for people, and operations over one instance or several."""
