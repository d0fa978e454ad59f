"""One attention call and everything that is computed from it. Imports torch and numpy alone."""
