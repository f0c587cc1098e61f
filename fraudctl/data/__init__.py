"""Tables: read in one place, written in one place, and what is known of their columns."""
