"""The few constants that programs compare with."""

DEFAULT_RESOURCES = {"CPU", "GPU", "memory", "object_store_memory"}
RESOURCE_CONSTRAINT_PREFIX = "accelerator_type:"
ID_SIZE = 28
DEFAULT_ACTOR_METHOD_CPU_SIMPLE = 1
DEFAULT_ACTOR_CREATION_CPU_SIMPLE = 0
DEFAULT_ACTOR_METHOD_CPU_SPECIFIED = 0
DEFAULT_ACTOR_CREATION_CPU_SPECIFIED = 1
KV_NAMESPACE_FUNCTION_TABLE = b"fun"
NOSET_CUDA_VISIBLE_DEVICES_ENV_VAR = "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"
RAY_OVERRIDE_RESOURCES = "RAY_OVERRIDE_RESOURCES"
WORKER_PROCESS_SETUP_HOOK_ENV_VAR = "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR"
DEFAULT_MAX_CONCURRENCY_ASYNC = 1000


def env_bool(key, default):
    """The environment variable `key` as a truth value."""
    import os

    return os.environ[key].lower() in ("true", "1") if key in os.environ else default


def env_integer(key, default):
    """The environment variable `key` as a number."""
    import os

    value = os.environ.get(key, "")
    return int(value) if value.lstrip("-").isdigit() else default
