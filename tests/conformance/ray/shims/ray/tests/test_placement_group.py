"""What one test file borrows from another."""


def are_pairwise_unique(items):
    """Whether no two are equal."""
    return len(set(items)) == len(items)
