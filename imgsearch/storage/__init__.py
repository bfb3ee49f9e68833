"""Where items, features and index generations live on disk, and how they are searched; no pixel comes here."""
