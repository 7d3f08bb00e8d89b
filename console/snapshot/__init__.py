"""What the console knows at one moment: immutable and serialisable."""
