"""Generated messages of Ray's servers; here the few constants that tests compare with."""
