"""Interceptors, one for each way in which models compute attention."""
