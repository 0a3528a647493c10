"""Images and the concepts marked on them."""
