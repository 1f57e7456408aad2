"""Placement groups: resources reserved together, in bundles that lie on one node, on several, or as many as possible.

A group is reserved as a whole, at once or when there is room. Its handle is an id and, where it was made, what its bundles are; it may be
passed, put and returned. The native half knows a group by a number, which the id carries behind the session's tag.
"""

from __future__ import annotations

import warnings
from typing import Any

from park import _park, labels
from park.here import HERE
from park.ids import NodeID, PlacementGroupID

__all__ = [
    "PlacementGroup",
    "get_current_placement_group",
    "get_placement_group",
    "placement_group",
    "placement_group_table",
    "remove_placement_group",
]

VALID_PLACEMENT_GROUP_STRATEGIES = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"}

_Bundles = list[dict[str, float]]


def id_of(number: int) -> PlacementGroupID:
    """The id of the group with this number in the session."""
    return PlacementGroupID(_park.session_id().to_bytes(8, "big") + number.to_bytes(8, "big") + bytes(2))


def number_of(id: PlacementGroupID) -> int:
    """The number of a group; 0, which no group has, for one of another session."""
    tag, number = id.binary()[:8], id.binary()[8:16]
    return int.from_bytes(number, "big") if int.from_bytes(tag, "big") == _park.session_id() else 0


class PlacementGroup:
    """A handle of a placement group."""

    def __init__(self, id: PlacementGroupID, bundle_cache: _Bundles | None = None):
        self.id = id
        self.bundle_cache = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The group that stands for none."""
        return PlacementGroup(PlacementGroupID.nil())

    @staticmethod
    def of(number: int) -> PlacementGroup:
        """The group with this number in the session."""
        return PlacementGroup(id_of(number))

    @property
    def is_empty(self) -> bool:
        """Whether this stands for no group."""
        return self.id.is_nil()

    def ready(self) -> _park.ObjectRef:
        """A reference to this group, whose value is there once the group is reserved."""
        value = _park.put(self)
        return value if self.is_empty else _park.await_group(number_of(self.id), value)

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Wait until the group is reserved. False if it is not by then; an error if it was removed."""
        # Not `ready()`: nobody looks at the value, and to pickle this handle takes longer than all the rest.
        ready = _park.put(None) if self.is_empty else _park.await_group(number_of(self.id), _park.put(None))
        done, _ = _park.wait([ready], num_returns=1, timeout=timeout_seconds)
        if done:
            _park.get(ready)
        return bool(done)

    @property
    def bundle_specs(self) -> _Bundles:
        """What each bundle reserves."""
        if not self.bundle_cache:
            self.bundle_cache = _row(self)["bundles"]
        return self.bundle_cache

    @property
    def bundle_count(self) -> int:
        """How many bundles the group has."""
        return len(self.bundle_specs)

    def __eq__(self, other):
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"PlacementGroup({self.id.hex()})"


def placement_group(
    bundles: _Bundles,
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> PlacementGroup:
    """Make a placement group. Returns at once; `ready()` and `wait()` say when its bundles are reserved.

    `strategy` says how bundles lie: "PACK" on few nodes and "SPREAD" on many, if possible; "STRICT_PACK" on one and "STRICT_SPREAD" each
    on its own, or not at all. `bundle_label_selector` has a label selector for each bundle. `topology_strategy` stands in for `strategy`:
    what it has for "ray.io/node-id" is that, and `{label: "STRICT_PACK"}` puts all bundles on nodes with one value of this label in
    common, which is how bundles that ask for GPUs of racks, "GB200" or "GB300", are put anyhow ("ray.io/gpu-domain"). A group ends
    with the actor or driver that made it, unless `lifetime` is "detached".
    """
    from park import exceptions, session

    session.require()
    validate_placement_group(
        bundles, strategy, lifetime, _soft_target_node_id, bundle_label_selector, topology_strategy
    )
    strategy = strategy or (topology_strategy or {}).get(labels.NODE_ID, "PACK")
    domains = [label for label in topology_strategy or () if label != labels.NODE_ID]
    if _linked(bundle_label_selector or []):
        domains.append(_GPU_DOMAIN)
    try:
        number = _park.create_group(
            [_park.Resources(bundle) for bundle in bundles],
            strategy,
            selectors=[labels.tests_of(one) for one in bundle_label_selector or []],
            name=(session.namespace(), name) if name else None,
            target=_soft_target_node_id,
            domain=domains[0] if domains else None,
            detached=lifetime == "detached",
        )
    except exceptions.ActorAlreadyExistsError as error:
        raise exceptions.RaySystemError(f"Failed to create placement group '{name}' because {error}") from None
    cache = [{key: float(value) for key, value in bundle.items()} for bundle in bundles]
    return PlacementGroup(id_of(number), bundle_cache=cache)


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Remove a group: its resources are free again, and what runs in it is killed."""
    from park import session

    if placement_group is None:
        raise AssertionError("remove_placement_group takes a placement group, got None")
    session.require()
    _park.remove_group(number_of(placement_group.id))


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group with this name in the caller's namespace. ValueError if there is none."""
    from park import session

    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    session.require()
    wanted = (session.namespace(), placement_group_name)
    for group in _park.placement_report()["groups"]:
        if group["name"] == wanted and group["state"] != "REMOVED":
            return PlacementGroup.of(group["number"])
    raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """The state of a group, or of all groups by id."""
    from park import session

    session.require()
    if placement_group is not None:
        found = _park.placement_report(number_of(placement_group.id))["groups"]
        return _table_row(found[0]) if found else {}
    rows = map(_table_row, _park.placement_report()["groups"])
    return {row["placement_group_id"]: row for row in rows}


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the task or actor which asks runs in; None if in none, and in the driver."""
    _park.session_id()  # opens a session as the rest of the interface does
    return None if HERE.facts.group is None else PlacementGroup.of(HERE.facts.group)


def _row(group: PlacementGroup) -> dict[str, Any]:
    found = _park.placement_report(number_of(group.id))["groups"]
    if not found:
        raise ValueError(f"placement group {group.id.hex()} is not of this session, or was removed long ago")
    return found[0]


_SCHEDULING = {"CREATED": "FINISHED", "REMOVED": "REMOVED"}


def _table_row(group: dict[str, Any]) -> dict[str, Any]:
    waiting = ("NO_RESOURCES" if group["feasible"] else "INFEASIBLE") if group["attempts"] else "QUEUED"
    latency = group["latency"] / 1000
    return {
        "placement_group_id": id_of(group["number"]).hex(),
        "name": (group["name"] or ("", ""))[1],
        "bundles": dict(enumerate(group["bundles"])),
        "bundles_to_node_id": dict(enumerate(group["nodes"])),
        "strategy": group["strategy"],
        "state": group["state"],
        "stats": {
            "end_to_end_creation_latency_ms": latency,
            "scheduling_latency_ms": latency,
            "scheduling_attempt": group["attempts"],
            "highest_retry_delay_ms": 0.0,
            "scheduling_state": _SCHEDULING.get(group["state"], waiting),
        },
    }


# --- checks -----------------------------------------------------------------------------------------------------------------------


def check_placement_group_index(placement_group: PlacementGroup, bundle_index: int) -> None:
    """Refuse a bundle that the group does not have."""
    if placement_group.is_empty:
        if bundle_index != -1:
            raise ValueError("If placement group is not set, the value of bundle index must be -1.")
    elif not -1 <= bundle_index < placement_group.bundle_count:
        raise ValueError(
            f"placement group bundle index {bundle_index} is invalid. Valid placement group indexes: "
            f"0-{placement_group.bundle_count}"
        )


def validate_placement_group(
    bundles: _Bundles,
    strategy: str | None = None,
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: dict[str, str] | None = None,
) -> None:
    """Refuse what `placement_group` cannot take."""
    if topology_strategy is not None and strategy is not None:
        raise ValueError(
            "`strategy` and `topology_strategy` cannot both be specified. Pass node-level packing via "
            f"`topology_strategy['{labels.NODE_ID}']`."
        )
    if strategy is not None and strategy not in VALID_PLACEMENT_GROUP_STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. Supported strategies are: {VALID_PLACEMENT_GROUP_STRATEGIES}."
        )
    if topology_strategy is not None:
        _validate_topology_strategy(topology_strategy)
        strategy = topology_strategy.get(labels.NODE_ID)
    if _soft_target_node_id and strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id currently only works with STRICT_PACK but got {strategy or 'PACK'}")
    if _soft_target_node_id and NodeID.from_hex(_soft_target_node_id).is_nil():
        raise ValueError(f"Invalid hex ID of _soft_target_node_id, got {_soft_target_node_id}")
    _validate_bundles(bundles)
    if bundle_label_selector is not None:
        if len(bundles) != len(bundle_label_selector):
            raise ValueError(
                f"Invalid bundle label selector {bundle_label_selector}. The length of `bundle_label_selector` should equal the length "
                "of `bundles`."
            )
        _validate_bundle_label_selector(bundle_label_selector)
    if lifetime not in (None, "detached"):
        raise ValueError(f"Placement group `lifetime` argument must be either `None` or 'detached'. Got {lifetime}.")


def _validate_topology_strategy(topology_strategy: dict[str, str]) -> None:
    if not isinstance(topology_strategy, dict):
        raise ValueError(f"`topology_strategy` must be a dict, got {type(topology_strategy).__name__}.")
    others = [key for key in topology_strategy if key != labels.NODE_ID]
    if len(others) > 1:
        raise ValueError(
            f"`topology_strategy` currently supports at most one topology label other than `{labels.NODE_ID}`. Got {others}."
        )
    for key, value in topology_strategy.items():
        if not isinstance(key, str) or not key:
            raise ValueError(f"`topology_strategy` keys must be non-empty strings, got {key!r}.")
        if value not in VALID_PLACEMENT_GROUP_STRATEGIES:
            raise ValueError(
                f"Invalid topology strategy {value!r} for label {key!r}. Supported strategies are: "
                f"{VALID_PLACEMENT_GROUP_STRATEGIES}."
            )
        if key != labels.NODE_ID and value != "STRICT_PACK":
            raise ValueError(
                f"Topology strategy {value!r} for label {key!r} is not supported yet; only 'STRICT_PACK' is supported for topology "
                f"labels other than `{labels.NODE_ID}` for now."
            )


_BUNDLES = 'Bundles must be a non-empty list of resource dictionaries. For example: `[{"CPU": 1.0}, {"GPU": 1.0}]`.'


def _validate_bundles(bundles: Any) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError(f"{_BUNDLES} Got empty list instead.")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
            isinstance(key, str) and isinstance(value, (int, float)) for key, value in bundle.items()
        ):
            raise ValueError(_BUNDLES)
        if all(value == 0 for value in bundle.values()):
            raise ValueError(
                f"Bundles cannot be an empty dictionary or resources with only 0 values. Bundles: {bundles}"
            )
        if "bundle" in bundle:
            raise ValueError(f"The resource 'bundle' is reserved for placement groups. Bundles: {bundles}")
        if "object_store_memory" in bundle:
            warnings.warn(
                "Setting 'object_store_memory' for bundles is deprecated since it doesn't actually reserve the required object store "
                "memory. Use object spilling that's enabled by default instead to bypass the object store memory size limitation.",
                DeprecationWarning,
                stacklevel=4,
            )


def _validate_bundle_label_selector(bundle_label_selector: Any) -> None:
    if not isinstance(bundle_label_selector, list):
        raise ValueError(f"Placement group bundle_label_selector must be a list, got {type(bundle_label_selector)}.")
    for selector in bundle_label_selector:
        if not isinstance(selector, dict) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in selector.items()
        ):
            raise ValueError(
                "Bundle label selector must be a list of string dictionary label selectors. For example: "
                '`[{ray.io/market_type": "spot"}, {"ray.io/accelerator-type": "A100"}]`.'
            )
        if text := labels.selector_wrong(selector):
            raise ValueError(f"Invalid label selector provided in bundle_label_selector list. Detailed error: '{text}'")
    linked = _linked(bundle_label_selector)
    for selector in bundle_label_selector if linked else ():
        if selector.get(_ACCELERATOR) != linked:
            raise ValueError(
                f"Invalid bundle label selector {selector}. GPU-domain scheduling requires all bundles to have "
                f"'{_ACCELERATOR}: {linked}' in their label selector."
            )


_ACCELERATOR, _GPU_DOMAIN = "ray.io/accelerator-type", "ray.io/gpu-domain"


def _linked(selectors: list[dict[str, str]]) -> str | None:
    """The kind of GPU that a selector asks for, if GPUs of that kind are linked by the rack."""
    asked = (selector.get(_ACCELERATOR) for selector in selectors)
    return next((kind for kind in asked if kind in ("GB200", "GB300")), None)
