"""Where batches are made: in this process, or by the workers of a Ray cluster.

local         this process
ray_worker    what runs in a worker
cluster       a Ray cluster: started or joined, and what it has
ray_executor  the driver of a cluster
choice        the executor that a config names
"""
