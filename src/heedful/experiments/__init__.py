"""The published claims, each a function that returns Findings; what was found is stored beside them."""
