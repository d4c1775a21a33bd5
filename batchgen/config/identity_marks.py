"""Marks of the fields of configs: whether they are in the identity of a job, or of a point."""

OF_JOB = {"identity": "job"}
"""Mark of a field that shapes images: it is in a job's identity, and in the name of a point."""
OF_POINT = {"identity": "point"}
"""Mark of a field that names files: it is in the name of a point; the identity has their hashes."""
OF_NOTHING = {"identity": "nothing"}
"""Mark of a field of a nested config that changes no image."""
