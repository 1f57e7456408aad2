"""park.kv: the paged KV cache, for inference engines. `park.kv.memory` is its memory: device, host and disk."""
