"""Tests of the Line tab."""
