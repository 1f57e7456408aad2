"""joblib's work on a `Pool` of actors."""

from __future__ import annotations

from typing import Any

from joblib._parallel_backends import AutoBatchingMixin, ParallelBackendBase, PoolManagerMixin

from park.util.multiprocessing.pool import Pool


class RayBackend(PoolManagerMixin, AutoBatchingMixin, ParallelBackendBase):
    """A joblib backend; `ray_remote_args` are options of the actors, here or in `Parallel`."""

    supports_timeout = True
    #: Results are taken where the pool's callback runs.
    supports_retrieve_callback = True

    def __init__(self, nesting_level=None, inner_max_num_threads=None, ray_remote_args=None, **kwargs):
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self.ray_remote_args = ray_remote_args

    def effective_n_jobs(self, n_jobs: int) -> int:
        """How many processes `n_jobs` means: -1 all CPUs of the session, -2 all but one."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, _cpus() + 1 + n_jobs)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **memmapping: Any,
    ) -> int:
        """Start the processes; what joblib says about memory maps is not needed, for arguments are in shared memory already."""
        n_jobs = self.effective_n_jobs(n_jobs)
        self._pool = Pool(n_jobs, ray_remote_args=self.ray_remote_args if ray_remote_args is None else ray_remote_args)
        self.parallel = parallel
        return n_jobs

    def retrieve_result_callback(self, result: Any) -> Any:
        """What a batch returned, which is a list; it raises what it is given instead."""
        if isinstance(result, BaseException):
            raise result
        return result

    def terminate(self) -> None:
        """End the processes."""
        super().terminate()
        self.reset_batch_stats()


def _cpus() -> int:
    import park

    if not park.is_initialized():
        park.init()
    return int(park.cluster_resources().get("CPU", 1))
