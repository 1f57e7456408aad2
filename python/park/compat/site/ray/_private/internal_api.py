"""`free`: let go of objects by hand."""


def free(object_refs, local_only=False):
    """Nothing to do: an object's memory is given back with the last reference to it, in whatever process that is.

    Ray can free an object that others still refer to, whose `get` then raises. Here those who hold a reference may rely on it.
    """
    import park

    for ref in object_refs if isinstance(object_refs, list) else [object_refs]:
        if not isinstance(ref, park.ObjectRef):
            raise TypeError(f"Attempting to call `free` on the value {ref}, which is not an ray.ObjectRef.")
