"""Keys, signatures and what a client demands of them."""
