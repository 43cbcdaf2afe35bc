"""Network building blocks that know nothing of motion."""
