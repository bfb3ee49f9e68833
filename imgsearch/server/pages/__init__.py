"""The page for people that a server shows at ``/``: searching and looking, no writing."""
