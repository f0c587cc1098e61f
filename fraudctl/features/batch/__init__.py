"""All events at once: the batch engine, its schedule, its partitions and its compiled loops."""
