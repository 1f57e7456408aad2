"""Names of Ray that its libraries share; programs use a few."""
