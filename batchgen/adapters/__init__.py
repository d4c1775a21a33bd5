"""LoRA files: their names for a model's layers, whether they fit it, where they are.

lora_names  names of layers, in every spelling that LoRA files use
lora_file   the header of a LoRA file
adapter     an adapter of a job: its file, its revision, whether it fits
"""
