"""SDXL through `mindone.diffusers`; the only user of mindspore, mindone and transformers.

cpu_kernels  stand-ins for operators that have no CPU kernel
machine      the device: starting it, waiting for it, its memory
loading      the files of a model into its parameters
lora_layers  adapters on a loaded model
prompts      prompts to embeddings
scheduler    a scheduler as an object of mindone's
unet_cache   a UNet that keeps the output of its deep blocks between steps
sdxl         the pipeline
"""
