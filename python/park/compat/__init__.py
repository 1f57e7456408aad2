"""Other projects' names for what park does: `park.compat.ray`."""
