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
