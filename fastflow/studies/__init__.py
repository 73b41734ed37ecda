"""Monte Carlo studies: cells of parameters, trials in each, and the statistics of what came out.

How far one driver goes. A trial takes 29 bytes in the driver's memory and some 20 in its store, which is written at
about 75 MB/s; since cells come in random order, every writing is of nearly all chunks, and it is done the less often
the longer it takes. At 10^8 trials that is 3 GB, written in 40 s every quarter of an hour: there one driver and one
store end. 10^9 trials (of half a millisecond 150 hours of one core, or ten minutes of a thousand) are shares: each of a
thousand jobs, ``run(shard=(i, 1000), store=...)``, holds and writes the 29 MB of its own cells. Only `merge` would hold
all 29 GB at once; rates need no more than ``sum(open_study(part).successes for part in parts)`` and ``trials``
likewise. Or take ten studies that have a tenth of the values of an axis each, in stores of their own: streams are keyed
by values, so each has the bits that the whole would have, and `xarray.open_mfdataset` reads them together without
loading them.

With more than some hundred workers tasks should take longer than a quarter of a second (``task_seconds``): a dask
scheduler hands out some hundreds of tasks a second, the driver alone some thousands.
"""
