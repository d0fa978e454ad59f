"""Each head compared with the attention that counts predict."""
