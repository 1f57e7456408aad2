"""States of an actor, by the numbers of Ray's protocol."""


class _ActorState:
    DEPENDENCIES_UNREADY = 0
    PENDING_CREATION = 1
    ALIVE = 2
    RESTARTING = 3
    DEAD = 4


class ActorTableData(_ActorState):
    ActorState = _ActorState
