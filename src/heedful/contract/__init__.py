"""What config and batch promise about attention, and whether the kernels keep it."""
