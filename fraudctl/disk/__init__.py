"""Files: written whole or not at all, verified before use, and the reason why one cannot be read."""
