"""The attention call and everything computed from one call. Imports only torch and numpy."""
