"""Measurements of the claims that the README makes; see README.md here for how to read and re-run them."""
