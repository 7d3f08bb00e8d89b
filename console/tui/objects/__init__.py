"""Lists of things that can be opened, and the screens of what is opened."""
