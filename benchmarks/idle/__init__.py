"""What a shop costs that has nothing to do, and how soon it is there."""
