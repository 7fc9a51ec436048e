"""Output files, written atomically, and the lists of images in them."""
