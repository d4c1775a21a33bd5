"""Known errors of MindSpore, CANN and the machine: the texts that reveal each, its cause, its cure.

symptoms       the one table of them
diagnosis      the symptoms found in a text
device_errors  the batchgen error for a failure of MindSpore
"""
