"""Storing the optional topics: the tables of the same names, and what follows from them."""
