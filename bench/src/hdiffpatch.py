"""Drives the PyPI package hdiffpatch: it is a library and has no command of its own."""

import sys

import hdiffpatch

verb, source_path, other_path, output_path = sys.argv[1:]
with open(source_path, "rb") as file:
    source = file.read()
with open(other_path, "rb") as file:
    other = file.read()
if verb == "diff":
    made = hdiffpatch.diff(source, other, hdiffpatch.Lzma2Config(level=9), validate=False)
else:
    made = hdiffpatch.apply(source, other)
with open(output_path, "wb") as file:
    file.write(made)
