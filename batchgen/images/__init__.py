"""Image files: encoding, the settings inside, blank pictures.

blank       black, of one colour, not finite
parameters  the text of the settings
formats     how each file format encodes a picture
image_file  encoding and writing
"""
