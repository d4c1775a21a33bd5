"""Which images a job has, which are made together, and which are left to make.

fingerprint    stable hashes over columns: keys, seeds, fingerprints
batches        rows -> images -> batches
backlog        the table held against what is finished
"""
