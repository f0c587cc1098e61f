"""Features and scores on an existing engine with Spark's DataFrame API (extra `spark`): the same loops and bits."""
