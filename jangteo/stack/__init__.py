"""The running shop: its servers, its processes, and what is reported about them."""
