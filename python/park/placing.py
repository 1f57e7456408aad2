"""From options to a place: what `scheduling_strategy`, `label_selector`, `fallback_strategy` and the placement group options come to.

Most work says nothing and goes anywhere; for it there is no object at all. What a placement group is to take is checked when it is
submitted, because a group's bundles may not be known earlier, and once for each remote function.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from park import _park, labels
from park.here import HERE
from park.util.placement_group import PlacementGroup, check_placement_group_index, number_of
from park.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

if TYPE_CHECKING:
    from park.environment import Interpreter

#: Options that say where.
_OPTIONS = (
    "scheduling_strategy",
    "label_selector",
    "fallback_strategy",
    "placement_group",
    "placement_group_bundle_index",
    "placement_group_capture_child_tasks",
)


class Placing:
    """Where the work of one remote function or actor class may run."""

    __slots__ = ("_chosen", "_environment", "_known", "_needs", "_what")

    def __init__(
        self,
        chosen: dict[str, Any],
        needs: tuple[dict[str, float], ...],
        what: str,
        environment: Interpreter | None = None,
    ):
        self._chosen = chosen
        self._environment = environment
        self._needs = needs
        self._what = what
        #: The place, by the group that captures what this process submits.
        self._known: dict[int | None, _park.Placement | None] = {}

    def place(self) -> _park.Placement | None:
        """The place for what is submitted now; None: anywhere."""
        captures = HERE.facts.captures
        if captures not in self._known or self._chosen.get("placement_group", "default") != "default":
            self._known[captures] = self._find(captures)
        return self._known[captures]

    def _find(self, captures: int | None) -> _park.Placement | None:
        chosen = self._chosen
        strategy = chosen.get("scheduling_strategy")
        if isinstance(strategy, NodeAffinitySchedulingStrategy):
            return self._on_node(strategy)
        if isinstance(strategy, NodeLabelSchedulingStrategy):
            hard, soft = _tests(strategy.hard), _tests(strategy.soft)
            return self._at(selectors=[hard + soft, hard] if soft else [hard])
        if isinstance(strategy, PlacementGroupSchedulingStrategy):
            group: Any = strategy.placement_group
            index, capture = strategy.placement_group_bundle_index, strategy.placement_group_capture_child_tasks
        else:
            group = chosen.get("placement_group", "default")
            index = chosen.get("placement_group_bundle_index", -1)
            capture = chosen.get("placement_group_capture_child_tasks")
            _warn_of_deprecated(chosen)
        inherits = captures is not None if capture is None else capture
        if strategy is None or isinstance(strategy, PlacementGroupSchedulingStrategy):
            if group == "default":
                group = PlacementGroup.of(HERE.facts.group) if inherits and HERE.facts.group is not None else None
            group = group or PlacementGroup.empty()
            check_placement_group_index(group, index)
            if not group.is_empty:
                for needs in self._needs:
                    _check_fits(group, needs, self._what, first=needs is self._needs[0])
                return self._at(group=number_of(group.id), index=None if index == -1 else index, capture=bool(inherits))
        selectors = _selectors(chosen)
        if strategy == "SPREAD" or selectors:
            return self._at(spread=strategy == "SPREAD", selectors=selectors)
        return None if self._environment is None else self._at()

    def _at(self, **where: Any) -> _park.Placement:
        return _park.Placement(environment=self._environment, **where)

    def _on_node(self, strategy: NodeAffinitySchedulingStrategy) -> _park.Placement:
        there: labels.Tests = [(labels.NODE_ID, "in", [strategy.node_id])]
        if strategy._spill_on_unavailable:
            return self._at(selectors=[there, []], patience="room")
        if strategy.soft:
            return self._at(selectors=[there, []], patience="feasible")
        return self._at(selectors=[there], patience="none" if strategy._fail_on_unavailable else "room")


def placing_of(
    chosen: dict[str, Any],
    needs: tuple[dict[str, float], ...],
    what: str,
    environment: Interpreter | None = None,
) -> Placing | None:
    """Where work with these options may run; None if they do not say. `needs` is what it must find in one bundle, `environment` the
    interpreter that it needs."""
    if environment is not None or any(
        chosen.get(name) not in (None, -1, "default") or (name == "placement_group" and name in chosen)
        for name in _OPTIONS
    ):
        return Placing(chosen, needs, what, environment)
    return None


def captured(chosen: dict[str, Any], needs: tuple[dict[str, float], ...], what: str) -> _park.Placement | None:
    """The place for work that does not say, submitted from within a group that captures what is submitted there."""
    return Placing(chosen, needs, what).place()


def _tests(expressions: list[Any]) -> labels.Tests:
    def test(operator) -> tuple[str, list[str]]:
        if isinstance(operator, Exists):
            return "exists", []
        if isinstance(operator, DoesNotExist):
            return "missing", []
        return "in" if isinstance(operator, In) else "not in", operator.values

    return [(one.key, *test(one.operator)) for one in expressions]


def _selectors(chosen: dict[str, Any]) -> list[labels.Tests]:
    fallbacks = chosen.get("fallback_strategy") or []
    first = chosen.get("label_selector")
    if not first and not fallbacks:
        return []
    return [labels.tests_of(first), *(labels.tests_of(one["label_selector"]) for one in fallbacks)]


def _check_fits(group: PlacementGroup, needs: dict[str, float], what: str, *, first: bool) -> None:
    bundles = group.bundle_specs
    if any(all(bundle.get(name, 0) >= amount for name, amount in needs.items() if amount) for bundle in bundles):
        return
    if first:
        raise ValueError(
            f"Cannot schedule {what} with the placement group because the resource request {needs} cannot fit into any bundles for "
            f"the placement group, {bundles}."
        )
    raise ValueError(
        f"Cannot schedule {what} with the placement group because the actor requires {needs.get('CPU', 0)} CPU for creation, but it "
        f"cannot fit into any bundles for the placement group, {bundles}. Consider creating a placement group with CPU resources."
    )


def _edition() -> str:
    """The edition of Ray's documentation that goes with the version that programs see under Ray's name."""
    version = getattr(sys.modules.get("ray"), "__version__", None)
    return f"releases-{version}" if version else "latest"


def _warn_of_deprecated(chosen: dict[str, Any]) -> None:
    used = {
        "placement_group": chosen.get("placement_group", "default") != "default",
        "placement_group_bundle_index": chosen.get("placement_group_bundle_index", -1) != -1,
        "placement_group_capture_child_tasks": bool(chosen.get("placement_group_capture_child_tasks")),
    }
    for name, is_used in used.items():
        if is_used:
            warnings.warn(
                f"{name} parameter is deprecated. Use scheduling_strategy=PlacementGroupSchedulingStrategy(...) instead, see the usage "
                f"at https://docs.ray.io/en/{_edition()}/ray-core/package-ref.html#ray-remote.",
                DeprecationWarning,
                stacklevel=5,
            )
