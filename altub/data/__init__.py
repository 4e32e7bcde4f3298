"""Data sets: MVTec AD, own folders, and a built-in sample; how images are decoded."""
