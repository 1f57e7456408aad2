"""`JobConfig`: arguments of `init` in an object."""

__all__ = ["JobConfig"]


class JobConfig:
    """What a driver says about its job. Only what park can honour is taken; `init(job_config=...)` reads it."""

    def __init__(
        self,
        *,
        runtime_env=None,
        metadata=None,
        ray_namespace=None,
        default_actor_lifetime="non_detached",
        code_search_path=None,
    ):
        paths = list(code_search_path or ())
        if isinstance(code_search_path, str) or not all(isinstance(path, str) for path in paths):
            raise TypeError(f"code_search_path must be a list of folders, got {code_search_path!r}")
        if default_actor_lifetime not in ("detached", "non_detached"):
            raise ValueError(
                f"The default_actor_lifetime must be 'detached' or 'non_detached', got {default_actor_lifetime!r}"
            )
        #: Folders that workers, and the program itself, import from when nothing else has the module.
        self.code_search_path = paths
        self.runtime_env = runtime_env or {}
        self.metadata = metadata or {}
        self.ray_namespace = ray_namespace
        self.default_actor_lifetime = default_actor_lifetime

    def set_ray_namespace(self, ray_namespace):
        """Set the namespace of the job."""
        self.ray_namespace = ray_namespace

    def set_runtime_env(self, runtime_env):
        """Set the environment of the job's workers."""
        self.runtime_env = runtime_env or {}

    def set_default_actor_lifetime(self, default_actor_lifetime):
        """Set what actors without a `lifetime` have."""
        self.default_actor_lifetime = default_actor_lifetime
