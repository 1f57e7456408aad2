"""park's KV events against vLLM's own classes: `run.py PATH_OF_VLLM [SEED [BATCHES]]`.

Takes `EventBatch`, `KVCacheEvent` and what derives from them out of `vllm/distributed/kv_events.py` as they stand there (the module
itself needs the whole of vLLM), has `park-core/examples/kv_events.rs` write random batches, and checks of each that

* `msgspec` decodes the bytes as a `KVEventBatch` in which every field is what park meant, and
* vLLM's encoder writes the same values for that batch: no field more, none less, in the same order. (Not always the same bytes: it
  gives a map of few fields the head of one of many.)

Needs `msgspec` and cargo.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

CLASSES = {"EventBatch", "KVCacheEvent", "BlockStored", "BlockRemoved", "AllBlocksCleared", "KVEventBatch"}


def vllm_classes(root: Path) -> dict[str, Any]:
    """The definitions of `CLASSES`, executed out of vLLM's source."""
    tree = ast.parse((root / "vllm/distributed/kv_events.py").read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in CLASSES]
    assert {node.name for node in tree.body if isinstance(node, ast.ClassDef)} == CLASSES
    names: dict[str, Any] = {"msgspec": msgspec, "Any": Any, "ExternalBlockHash": bytes | int}
    exec(compile(tree, "kv_events.py", "exec"), names)
    return names


def key(value: Any) -> Any:
    """A key as park printed it: a number, or bytes in hexadecimal."""
    return bytes.fromhex(value) if isinstance(value, str) else value


def extra_keys(event: dict[str, Any], position: int) -> list[Any] | None:
    """What vLLM publishes as the extra keys of the block at `position`."""
    start, end = position * event["block_size"], (position + 1) * event["block_size"]
    extra: list[Any] = [event["adapter"]] if event["adapter"] else []
    extra += [[digest, at - start] for at, length, digest in event["media"] if at < end and start < at + length]
    extra += [event["salt"]] if event["salt"] and position == 0 else []
    return extra or None


def ordered(value: Any) -> Any:
    """The same with maps as lists of pairs, so that their order counts."""
    if isinstance(value, dict):
        return [(name, ordered(of)) for name, of in value.items()]
    return [ordered(of) for of in value] if isinstance(value, list) else value


def same(meant: dict[str, Any], found: Any, medium: str, vllm: dict[str, Any]) -> None:
    """Fails unless `found` is vLLM's form of what park meant."""
    if meant["what"] == "cleared":
        assert type(found) is vllm["AllBlocksCleared"]
        return
    assert (found.medium, found.group_idx) == (medium, meant["group"])
    if meant["what"] == "removed":
        assert type(found) is vllm["BlockRemoved"]
        assert found.block_hashes == [key(meant["key"])]
        return
    assert type(found) is vllm["BlockStored"]
    assert found.block_hashes == [key(value) for value in meant["keys"]]
    assert found.parent_block_hash == key(meant["parent"])
    assert (found.token_ids, found.block_size) == (meant["tokens"], meant["block_size"])
    assert (found.lora_id, found.lora_name) == (None, meant["adapter"] or None)
    wanted = [extra_keys(meant, meant["first"] + at) for at in range(len(meant["keys"]))]
    assert json.loads(json.dumps(found.extra_keys)) == wanted
    kind = "full_attention" if meant["window"] is None else "sliding_window"
    assert (found.kv_cache_spec_kind, found.kv_cache_spec_sliding_window) == (kind, meant["window"])


def main() -> None:
    """See the module."""
    root, *rest = sys.argv[1:]
    vllm = vllm_classes(Path(root))
    command = ["cargo", "run", "--quiet", "-p", "park-core", "--example", "kv_events", "--", *rest]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    decoder, encoder = msgspec.msgpack.Decoder(vllm["KVEventBatch"]), msgspec.msgpack.Encoder()
    events = 0
    for meant, encoded in zip(map(json.loads, lines[::2]), map(bytes.fromhex, lines[1::2]), strict=True):
        batch = decoder.decode(encoded)
        assert (batch.ts, batch.data_parallel_rank) == (meant["time"], meant["rank"])
        assert len(batch.events) == len(meant["events"])
        for one, found in zip(meant["events"], batch.events, strict=True):
            same(one, found, meant["medium"], vllm)
        assert ordered(msgspec.msgpack.decode(encoder.encode(batch))) == ordered(msgspec.msgpack.decode(encoded))
        events += len(batch.events)
    print(
        f"{len(lines) // 2} batches of {events} events: decoded by vLLM's classes, and written by its encoder to the same values"
    )


if __name__ == "__main__":
    main()
