"""Topics of Kafka through an engine that remembers (extra `kafka`): each message counts once, whatever dies when."""
