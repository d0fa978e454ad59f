"""The interceptors, one for each place where models compute attention."""
