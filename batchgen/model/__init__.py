"""The files of an SDXL: where they are, which tensors they must have, what identifies a model.

prompt_weights  `(word:1.2)` in a prompt
tokens          how many tokens a prompt has
shapes          names and shapes of the tensors, from config.json alone
tensors         where tensors stand in safetensors files
unet_names      what the first release of SDXL calls the layers of the UNet
single_file     the same tensors under the names of a single-file checkpoint
model_files     which files are loaded, and whether they are complete
weights         where a model's files are, and its identity
"""
