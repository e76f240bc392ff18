"""Folders of image files, and what lies beside them."""
