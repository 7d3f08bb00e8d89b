"""What only the live processes need."""
