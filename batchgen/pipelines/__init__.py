"""Loaded models that turn a batch into pictures.

base       what a pipeline is, and how one is loaded
fake       pixels without a model, and every fault on demand
mindspore  SDXL through mindone; the only user of mindspore and mindone
"""
