"""Run one study on several processes: split documents or heads over them, and merge the results by all-reduce sums."""
