"""Published networks, one per page, configuration on top."""
