"""Pytest fixtures: a fresh queue database for each test."""
