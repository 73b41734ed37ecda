"""Monte Carlo studies: cells x trials, in tasks, on any executor, into a store, with the statistics of it."""
