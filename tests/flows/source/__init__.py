"""The source of the dataflow."""
