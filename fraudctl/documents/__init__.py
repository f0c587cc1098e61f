"""JSON documents: results as JSON and back, their schemas, and documents sealed with a digest of themselves."""
