"""The parts of `ray.experimental` that need no cluster."""
