"""The `jangteo` command and the running stack; knows every room, and no room knows it."""
