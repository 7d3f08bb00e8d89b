"""A Kafka message as a person reads it: on one line, chosen by a condition, its fault marked."""
