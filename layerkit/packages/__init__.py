"""Packages of distributions and of Python as files of a layer: read, never run.

Rule 1: what a lock names is what a layer gets, byte for byte, whoever's mirror it came from. Nothing of a package is
executed; what its scripts would have done is done here, or said. The room is blocking.
"""
