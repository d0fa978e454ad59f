"""How attention is recorded, one place where models compute it a file."""
