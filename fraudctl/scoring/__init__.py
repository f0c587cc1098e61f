"""From a bundle and events to decisions."""
