"""Row-level SQL: read, checked, run by Polars on a table or compiled for a single row."""
