"""Error rates and power of the verdicts, by simulating the checks themselves."""
