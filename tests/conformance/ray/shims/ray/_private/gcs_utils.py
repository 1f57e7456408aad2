"""Numbers of Ray's protocol; what else is there belongs to its GCS server."""

from ray.core.generated.gcs_pb2 import ActorTableData  # noqa: F401


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    from ray.absent import Absent

    return Absent(f"ray._private.gcs_utils.{name}", "the protocol of Ray's GCS server")
