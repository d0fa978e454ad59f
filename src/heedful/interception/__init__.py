"""Hook into a running model and read its attention calls; every hook is removed afterwards."""
