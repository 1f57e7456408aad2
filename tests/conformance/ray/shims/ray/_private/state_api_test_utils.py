"""Calls of the state API that are checked."""

from ray._common.test_utils import wait_for_condition


def invoke_state_api(verify_cb, state_api_fn, err_msg=None, **kwargs):
    """Call it and check what comes back."""
    found = state_api_fn(**kwargs)
    assert verify_cb(found), f"{state_api_fn.__name__}({kwargs}) gave {len(found)} rows: {err_msg}"
    return found


def invoke_state_api_n(*args, **kwargs):
    """Call and check it until it holds ten times in a row."""
    wait_for_condition(lambda: all(invoke_state_api(*args, **kwargs) is not None for _ in range(10)), 30, 500)


def verify_failed_task(name, error_type, error_message=None):
    """Whether the one task of this name failed so."""
    from ray.util.state import list_tasks

    tasks = list_tasks(filters=[("name", "=", name)], detail=True)
    assert len(tasks) == 1, tasks
    (task,) = tasks
    assert task["state"] == "FAILED" and task["error_type"] == error_type, task
    wanted = [error_message] if isinstance(error_message, str) else error_message or []
    assert all(text in task["error_message"] for text in wanted), task
    return True


def wait_for_task_states(name_to_state, timeout=30):
    """Wait until each task, by its name, is so."""
    from ray.util.state import list_tasks

    def met():
        return all(
            len(list_tasks(filters=[("name", "=", name), ("state", "=", state)])) == 1
            for name, state in name_to_state.items()
        )

    wait_for_condition(met, timeout=timeout)


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    from ray.absent import Absent

    return Absent(name, "Ray's dashboard")
