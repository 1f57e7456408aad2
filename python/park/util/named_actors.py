"""`list_named_actors`: which names `get_actor` would find."""

from park import _park, session
from park.exceptions import ObjectNotFoundError


def list_named_actors(all_namespaces: bool = False) -> list:
    """The names of living actors of this namespace; of all, as dictionaries with "namespace" and "name"."""
    _park.session_id()  # opens a session as the rest of the interface does
    rows = [row for row in _park.describe_session()["actors"] if row["name"] and row["life"] != "dead" and _bears(row)]
    if all_namespaces:
        return [{"name": row["name"], "namespace": row["namespace"]} for row in rows]
    return [row["name"] for row in rows if row["namespace"] == session.namespace()]


def _bears(row) -> bool:
    """Whether the name is still the actor's: one that is killed for good loses it at once, and its process a little later."""
    try:
        ref, _ = _park.find_actor(row["namespace"], row["name"])
    except ObjectNotFoundError:
        return False
    return ref.binary() == row["id"]
