"""`jangteo topics`: the Kafka topics."""
