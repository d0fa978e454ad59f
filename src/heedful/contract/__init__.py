"""What config and batch promise of attention, and whether the kernels do it."""
