"""What a page is made of: a function a section, each of the folder alone."""
