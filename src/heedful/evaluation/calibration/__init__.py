"""How often verdicts are wrong, and how often they find what is there, by simulation of the checks themselves."""
