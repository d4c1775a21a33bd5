"""Image files: encoding, the settings inside, blank pictures.

image_file  all three
"""
