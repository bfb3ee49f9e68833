"""From the bytes of a picture to what is kept of it; pictures do not leave this room."""
