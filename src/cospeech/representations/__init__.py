"""Motion to feature vectors and back, one page per published layout."""
