"""Hostile files by the hundred, made from seeds: whatever comes from elsewhere is read or refused in one sentence.

`mutations` damages bytes and JSON, `verdict` says what a reader may answer; one file a subject makes the cases, and one
tests them. Every case follows from the seed and its number, so a failure names all that it takes to see it again.
"""
