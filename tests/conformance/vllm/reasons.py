"""Why cases of vLLM's suite cannot pass on a pool whose state is not in Python objects: a pattern of the case (below tests/v1) to the
reason. A pattern that matches no failing case fails the run."""

REASONS = {}
