"""Apache Kafka on this machine: the jars, the Java runtime, one broker or several."""
