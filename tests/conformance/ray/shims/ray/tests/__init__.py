"""What lies beside Ray's test files and is not in its wheel."""
