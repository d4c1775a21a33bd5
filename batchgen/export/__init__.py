"""The same results in the layouts that other tools read; one function of a folder each.

question         what was asked: which images, in which layout, to which place
selection        which images are taken: by an expression in SQL, by lists of picked ones
gathering        the finished images of jobs, shards and grids as one stream
samples          images whose bytes were read and are those that were written
building         the folder that is built beside the place asked for, and how far it is
handover         what a layout is given: samples, and a place for files
flat             a folder of pictures
tar_shards       webdataset: tar files with picture, text and row side by side
picture_parquet  parquet: rows with their pictures inside
image_copy       imagefolder: pictures and metadata.parquet
reencoding       pictures in the one format that an evaluator opens
geneval          a folder a row, with the row
compbench        t2i-compbench: prompts as names of files
hpsv2            a folder a style, JPEG, numbered as the prompts are
dpg_bench        four images of a row on one picture
layouts          the layouts by name, and what each needs of a row
card             the dataset card: columns, licence, how to make it again
exporting        from a question to a folder that is whole
"""
