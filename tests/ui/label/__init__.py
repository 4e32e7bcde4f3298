"""Tests of the Label tab."""
