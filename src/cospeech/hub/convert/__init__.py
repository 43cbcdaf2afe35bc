"""One key table per published system: published names to ours."""
