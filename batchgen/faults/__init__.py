"""Known errors of MindSpore, CANN and the machine: how each shows in a text, its cause, its cure.

symptoms       the one table of them
diagnosis      what a text shows, by that table
device_errors  the error of ours that a failure of MindSpore is
"""
