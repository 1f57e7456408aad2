"""The old place of `ray.util.state`."""
