"""`free`: let go of objects by hand. `memory_summary`: what the object store holds, as text."""


def free(object_refs, local_only=False):
    """Nothing to do: an object's memory is given back with the last reference to it, in whatever process that is.

    Ray can free an object that others still refer to, whose `get` then raises. Here those who hold a reference may rely on it.
    """
    import park

    for ref in object_refs if isinstance(object_refs, list) else [object_refs]:
        if not isinstance(ref, park.ObjectRef):
            raise TypeError(f"Attempting to call `free` on the value {ref}, which is not an ray.ObjectRef.")


def memory_summary(
    address=None,
    redis_username=None,
    redis_password=None,
    group_by="NODE_ADDRESS",
    sort_by="OBJECT_SIZE",
    units="B",
    line_wrap=True,
    stats_only=False,
    num_entries=None,
):
    """What the object store holds: one line of numbers, and without `stats_only` a line for each of the largest objects too.

    The arguments that arrange Ray's table change nothing.
    """
    from park import _park

    report = _park.memory_report(0)
    capacity = report["capacity"]
    # The functions and classes that work is made with lie there too; Ray keeps those elsewhere.
    values = sorted(_park.values(), key=lambda row: row["bytes"], reverse=True)
    there = [row for row in values if row["phase"] not in ("on disk", "pending")]
    used = sum(row["bytes"] for row in there)
    lines = [
        (
            f"Plasma memory usage {used >> 20} MiB, {len(there)} objects, {100 * used / capacity:.2f}% full, "
            f"{100 * report['pinned'] / capacity:.2f}% needed"
        )
    ]
    if report["spilled"]:
        lines.append(f"Spilled {report['spilled'] >> 20} MiB, {report['objects_spilled']} objects")
    if not stats_only:
        lines += [
            f"{row['id']}  {row['bytes']} B  {row['phase']}  {row['references']} references, made by {row['made_by']}"
            for row in values[:num_entries]
        ]
    return "\n".join(lines)
