"""Actions of the operator, from the keys and from the shell."""
