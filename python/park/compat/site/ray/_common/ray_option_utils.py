"""The tables of options of tasks and actors, for libraries that check options before they pass them on. `park.options` has the rules."""

from park import options as _options

#: Of those whose default is not None.
_TASK_DEFAULTS = {
    "placement_group": "default",
    "placement_group_bundle_index": -1,
    "enable_task_events": True,
    "max_calls": 0,
    "max_retries": 3,
    "num_cpus": 1,
    "retry_exceptions": False,
    "_num_objects_per_yield": 1,
}
_ACTOR_DEFAULTS = {
    "placement_group": "default",
    "placement_group_bundle_index": -1,
    "enable_task_events": True,
    "max_restarts": 0,
    "max_task_retries": 0,
    "max_pending_calls": -1,
    "get_if_exists": False,
}


class Option:
    """One option: its types, its check, its default."""

    def __init__(self, option, default_value):
        self.type_constraint = option.types
        self.value_constraint = option.wrong
        self.default_value = default_value
        self._check = option.check

    def validate(self, keyword, value):
        """Raise TypeError or ValueError for what the option cannot be."""
        self._check(keyword, value)


def _table(options, defaults):
    return {name: Option(option, defaults.get(name)) for name, option in options.items()}


task_options = _table(_options.TASK, _TASK_DEFAULTS)
actor_options = _table(_options.ACTOR, _ACTOR_DEFAULTS)
valid_options = {**task_options, **actor_options}
remote_args_error_string = _options.REMOTE_USAGE


def validate_task_options(options, in_options):
    """Raise for options that a task cannot have; `in_options` if they come from `.options()`."""
    _options.check_task(options, override=in_options, generator=True)


def validate_actor_options(options, in_options):
    """Raise for options that an actor cannot have; `in_options` if they come from `.options()`."""
    _options.check_actor(options, override=in_options)
