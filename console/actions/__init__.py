"""What an operator can do, from the keys and from the shell."""
