"""Verification: train a recorded segment of a run again, and compare it with the record, bit for bit.

record        what a run has recorded
segment       which segments can be trained again, and with which config
values        the differences between recorded values and those computed again
files         checks that need no training
comparison    a tracker that compares with the record instead of recording
replay        train a segment again in memory
verification  verify a run, and report the outcome
"""
