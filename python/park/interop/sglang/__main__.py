"""Prints what park relies on in the SGLang that is installed, as surface.json has it."""

import json

from park.interop.sglang import found

if __name__ == "__main__":
    print(json.dumps(found(), indent=1, sort_keys=True))
