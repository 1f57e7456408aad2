"""park inside other engines: what they let one replace, replaced by park's. Nothing of theirs is imported before it is asked for."""
