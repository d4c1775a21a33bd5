"""Loaded models that turn a batch into pictures.

base       what a pipeline is
fake       pixels without a model, and configured faults
mindspore  SDXL through mindone; the only user of mindspore and mindone
factory    how one is loaded, by the class of its config
"""
