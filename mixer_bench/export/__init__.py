"""A run taken away: a folder with network, probe and all that is known of them, and predictions made with it."""
