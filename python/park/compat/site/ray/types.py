"""`ObjectRef[T]` for annotations."""

from park._park import ObjectRef

__all__ = ["ObjectRef"]
