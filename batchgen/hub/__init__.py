"""ModelScope and Hugging Face: what a job needs of them, the download, and its receipt.

hubs      the two hubs, and a folder that mirrors one
wanted    the files of a model, and the file of an adapter
download  fetch what is wanted, and check that it is complete
"""
