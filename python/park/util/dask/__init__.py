"""Dask's graphs run as park's tasks: `ray_dask_get` is a scheduler for `dask.compute`, `enable_dask_on_ray` makes it the default one.

Dask itself is not needed for park; without it this module does not import.
"""

try:
    import dask

    from park.util.dask.callbacks import RayDaskCallback, local_ray_callbacks
    from park.util.dask.scheduler import ray_dask_get, ray_dask_persist
except ImportError as error:
    raise ImportError(
        f"park.util.dask needs Dask 2024.11 or newer (pip install 'dask>=2024.11'): {error}", name=error.name
    ) from error

__all__ = [
    "RayDaskCallback",
    "disable_dask_on_ray",
    "enable_dask_on_ray",
    "local_ray_callbacks",
    "ray_dask_get",
    "ray_dask_get_sync",
    "ray_dask_persist",
]


def enable_dask_on_ray(shuffle: str | None = "tasks", use_shuffle_optimization: bool | None = True):
    """Run what Dask computes as tasks from now on, or while the result is used as a context manager.

    Shuffles exchange their parts as objects of the store. Ray has an optimisation of them for its clusters; here there is none to do, so
    `use_shuffle_optimization` changes nothing.
    """
    return dask.config.set({"scheduler": ray_dask_get, "dataframe.shuffle.method": shuffle})


def disable_dask_on_ray():
    """Take that back."""
    return dask.config.set({"scheduler": None, "dataframe.shuffle.method": None})


#: As `ray_dask_get`: Ray's second scheduler submits from one thread, which this does in any case.
ray_dask_get_sync = ray_dask_get
