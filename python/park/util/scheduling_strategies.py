"""Where tasks and actors may run: what the option `scheduling_strategy` takes besides "DEFAULT" and "SPREAD".

These say what is wanted and check how it is written; `park.placing` turns them into what the native half understands.
"""

from __future__ import annotations

import typing
from typing import Any

from park.ids import NodeID

if typing.TYPE_CHECKING:
    from park.util.placement_group import PlacementGroup

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
]


class PlacementGroupSchedulingStrategy:
    """In a bundle that a placement group has reserved: bundle number `placement_group_bundle_index`, or any of them for -1.

    With `placement_group_capture_child_tasks`, what runs there submits its own tasks and actors to the same group, unless they say
    otherwise. Without a group (None), anywhere, also from inside such a task.
    """

    def __init__(
        self,
        placement_group: PlacementGroup | None,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ):
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


class NodeAffinitySchedulingStrategy:
    """On the node with this id. If that is gone or too small, elsewhere if `soft`, else not at all.

    `_spill_on_unavailable`: soft, and elsewhere also if the node has no room just now. `_fail_on_unavailable`: not soft, and no waiting.
    """

    def __init__(
        self, node_id: str, soft: bool, _spill_on_unavailable: bool = False, _fail_on_unavailable: bool = False
    ):
        if not isinstance(node_id, str):
            node_id = node_id.hex()
        self.node_id = node_id
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        try:
            valid = not NodeID.from_hex(node_id).is_nil()
        except (ValueError, TypeError):
            valid = False
        if not valid:
            raise ValueError(
                f"Invalid node_id '{node_id}'. Node ID must be a valid hex string. To get a list of all nodes and their IDs in your "
                "cluster, use ray.nodes(). See https://docs.ray.io/en/latest/ray-core/miscellaneous.html#node-information for more "
                "details."
            )
        if _spill_on_unavailable and not soft:
            raise ValueError(
                "_spill_on_unavailable cannot be set when soft is False. Please set soft to True to use _spill_on_unavailable."
            )
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable cannot be set when soft is True. Please set soft to False to use _fail_on_unavailable."
            )


class _Values:
    """A test of a label against a list of values."""

    def __init__(self, *values: str):
        operator = type(self).__name__
        if not values:
            raise ValueError(
                f"The variadic parameter of the {operator} operator must be a non-empty tuple: "
                f'e.g. {operator}("value1", "value2").'
            )
        for at, value in enumerate(values):
            if not isinstance(value, str):
                raise ValueError(
                    f"Type of value in position {at} for the {operator} operator must be str "
                    f'(e.g. {operator}("value1", "value2")) but got {value} of type {type(value)}.'
                )
        self.values = list(values)


class In(_Values):
    """The label is one of these values."""


class NotIn(_Values):
    """The label is none of these values, or not there."""


class Exists:
    """The node has the label."""


class DoesNotExist:
    """The node does not have the label."""


LabelMatchExpressionsT = dict[str, In | NotIn | Exists | DoesNotExist]


class _LabelMatchExpression:
    """One label and its test."""

    def __init__(self, key: str, operator: In | NotIn | Exists | DoesNotExist):
        self.key = key
        self.operator = operator


class NodeLabelSchedulingStrategy:
    """On a node whose labels pass all `hard` tests, and the `soft` ones too if such a node has room."""

    def __init__(self, hard: LabelMatchExpressionsT, *, soft: LabelMatchExpressionsT | None = None):
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not (self.hard or self.soft):
            raise ValueError("The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty.")


def _expressions(labels: Any, which: str) -> list[_LabelMatchExpression]:
    if labels is None:
        return []
    if not isinstance(labels, dict):
        raise ValueError(
            f'The {which} parameter must be a map (e.g. {{"key1": In("value1")}}) but got type {type(labels)}.'
        )
    for key, test in labels.items():
        if not isinstance(key, str):
            raise ValueError(
                f'The map key of the {which} parameter must be of type str (e.g. {{"key1": In("value1")}}) but got {key} of type '
                f"{type(key)}."
            )
        if not isinstance(test, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {which} parameter must be one of the `In`, `NotIn`, `Exists` or `DoesNotExist` "
                f'operator (e.g. {{"key1": In("value1")}}) but got {test} of type {type(test)}.'
            )
    return [_LabelMatchExpression(key, test) for key, test in labels.items()]


SchedulingStrategyT = (
    str | PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy | None
)
