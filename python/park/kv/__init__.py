"""park.kv: the paged KV cache and its scheduler, for inference engines.

Keys and values of tokens lie in blocks of a fixed size. These classes know which block holds what, for whom, what can be found again and
what is computed next; they touch no memory, so any kernel and any device will do. No session is needed, and none is opened.

| class | for whom |
|---|---|
| `Scheduler` | an engine that only computes: requests in, a `Plan` a step out |
| `Cache` | an engine with a scheduler of its own: sequences, prefixes, forks, windows |
| `park.kv.memory` | who wants the bytes, too: pages on the device, blocks in host memory and on disk |
| `Tables` | both: numpy arrays or torch tensors that each step writes its block tables to, in place |

    tables = Tables(block_table=block_table, slot_mapping=slot_mapping)  # made once, for the largest step
    scheduler = Scheduler(blocks=10_000, block_size=16)
    scheduler.add(prompt, max_new=256)
    while scheduler.metrics()["sequences"]:
        plan = scheduler.step(tables)
        ...  # compute plan.counts tokens of plan.sequences from plan.starts on
        scheduler.commit(sampled, finished=sampled == end_of_text)

Tokens, ids and counts go in as arrays of integers of any library (or lists), and come out as memoryviews, which `numpy.asarray` and
`torch.frombuffer` take without a copy. docs/KV.md says how an engine adopts this; `errors` has what is raised.
"""

from park._park import Cache, Changes, Plan, Scheduler, Tables
from park.kv import errors

__all__ = ["Cache", "Changes", "Plan", "Scheduler", "Tables", "errors"]
