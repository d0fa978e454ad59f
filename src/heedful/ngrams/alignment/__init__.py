"""Compare each attention head with the attention that n-gram counts predict."""
