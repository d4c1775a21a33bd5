"""Image files: encoding, the settings inside, blank pictures.

blank       black, of one colour, not finite
parameters  the text of the settings
image_file  encoding and writing
"""
