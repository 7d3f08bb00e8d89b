"""The optional topics of the shop: their events and what is known of each; off unless asked for."""
