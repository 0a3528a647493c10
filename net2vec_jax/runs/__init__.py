"""Directories that resume, and the probes that they hold."""
