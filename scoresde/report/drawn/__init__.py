"""HTML and SVG from small functions, and the page's style."""
