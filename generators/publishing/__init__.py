"""How events get to Kafka: the publishing loop and its reliable producer."""
