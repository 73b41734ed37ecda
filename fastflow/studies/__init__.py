"""Monte Carlo studies: cells of parameters, trials in each, and the statistics of what came out."""
