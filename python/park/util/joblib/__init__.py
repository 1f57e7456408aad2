"""`register_ray()`: `joblib.parallel_backend("ray")` runs on the session's processes."""


def register_ray() -> None:
    """Make the backend known to joblib."""
    try:
        from joblib.parallel import register_parallel_backend
    except ImportError as error:
        raise ImportError("the joblib backend needs joblib: pip install joblib", name="joblib") from error
    from park.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)


__all__ = ["register_ray"]
