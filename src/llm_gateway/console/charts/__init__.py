"""Charts as SVG, drawn on the server: paths in a coordinate system of their own, coloured by the stylesheet."""
