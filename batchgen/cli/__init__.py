"""The command line.

arguments  the commands and their arguments
compose    from overrides to `JobConfig`s; the only user of hydra
main       the commands
"""
