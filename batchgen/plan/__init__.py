"""Which images a job has, which are made together, and which are left to make.

fingerprint  stable hashes over columns: keys, seeds, fingerprints
lora_column  the adapters of each row in one form, and their identity
requests     a request for an image, and a batch of them
resolution   rows with every setting filled in, and their images, in columns
batches      which images are made together, and the requests for them
known_table  what one pass over a table taught, for the starts that follow
backlog      what is left to make, and the second pass over the table that makes batches of it
foreign_syntax  syntax of other tools in prompts
demands      what the weights demand of the settings of images
twins        rows that share a key
scan         the first pass: the whole table validated, and compared with what is finished
"""
