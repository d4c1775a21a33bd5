"""The files of an SDXL: where they are, which tensors they must have, what identifies a model.

prompt_weights  `(word:1.2)` in a prompt
tokens          how many tokens a prompt has
unet_depths     how many layers the blocks of a UNet have, and how deep
shapes          names and shapes of the tensors, from config.json alone
model_file      whether a file is there, and the JSON in it
vocabulary      whether the files of a tokenizer are whole
tensors         where tensors stand in safetensors files
unet_names      what the first release of SDXL calls the layers of the UNet
single_file     the same tensors under the names of a single-file checkpoint
noise_schedule  the noise schedule of a model, and whether it is one that batchgen knows
model_files     which files are loaded, and whether they are complete
few_steps       weights that draw in a few steps, known by their names
weights         where a model's files are, and its identity
"""
