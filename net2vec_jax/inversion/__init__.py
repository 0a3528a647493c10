"""Images that a layer, an embedding or a filter responds to: maximisation and inversion."""
